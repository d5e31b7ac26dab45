// Package history answers what happened, and what was so at a time, from the log: it is what `forgeauth audit`, `forgeauth state` and the
// paths under /audit say. It folds with the same code as the live tables ([projections.State]) and writes nothing. No answer holds
// anything that is sealed.
//
// The exported types are the JSON of both doors: field names, units and meanings are documented on them and do not change.
package history
