package forgeauth

// ReadEnvironment is FromEnvironment for a chosen user.
func ReadEnvironment(environ []string, purpose Purpose, root bool) (Environment, error) {
	return fromEnvironment(environ, purpose, root)
}
