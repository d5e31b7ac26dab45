package relay

// SettingError says what is wrong with one setting of a destination. It holds no secret.
type SettingError struct {
	// Setting is the name that follows FORGEAUTH_RELAY_<NAME>_, such as URL.
	Setting string
	// Problem completes the sentence that begins with the setting: "has no host".
	Problem string
	// Remedy says what to do, as an imperative.
	Remedy string
}

// Error implements error.
func (e *SettingError) Error() string { return e.Setting + " " + e.Problem + ": " + e.Remedy }
