// Package proof makes the log provable to people who trust neither the database nor whoever runs it.
//
// Every event is a leaf of a Merkle tree (RFC 6962), kept in tiles (C2SP tlog-tiles). A [Signer] advances the tree right behind
// the appends and signs what it has become: a checkpoint (C2SP tlog-checkpoint), a signed note with the tree's size and root. It
// remembers the last one outside the database, and signs nothing that contradicts it. From a checkpoint, an [Inclusion] shows
// that an event is in the log where it says, and [Grown] that an older checkpoint is a beginning of a newer one: nothing was
// removed, changed or slipped in between. [Verifier] recomputes all of it from the log.
//
// What is sealed is in a leaf only as its SHA-256. Shredding a key changes no leaf, and a leaf shows no secret.
//
// The log proves that history was not rewritten after it was signed. It does not prove that a fact was true when it was written.
package proof
