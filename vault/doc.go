// Package vault keeps the tokens: it holds the key, seals and opens, gives every token pair a data key of its own, and
// computes the keyed hashes by which sessions and one-time codes are recognised. It owns the tables data_keys and
// vault_check and imports nothing of this module but package secret.
//
// # Keys
//
// The operator's key (OAUTH_ENCRYPTION_KEY) is checked by [ParseKey] and then only used as input to HKDF-SHA-256 (RFC
// 5869), which derives one 32-byte key per purpose from all of its bytes, without guessing an encoding:
//
//	wrapping   seals data keys and the canary in vault_check
//	session    HMAC-SHA-256 of session secrets           [Vault.SessionHash]
//	cookie     seals cookies that expire                 [Vault.SealCookie]
//	code       HMAC-SHA-256 of setup and recovery codes  [Vault.HashCode]
//	token      HMAC-SHA-256 that tells equal tokens      [Vault.Fingerprint]
//
// No key is used for two purposes, so nothing made for one can be presented as another.
//
// # Boxes
//
// Everything sealed is a NaCl secretbox (XSalsa20-Poly1305, readable with libsodium's crypto_secretbox_open_easy): a
// random 24-byte nonce followed by the box. Random nonces of that size do not collide in practice, so no counter has to
// survive a crash. A secretbox has no associated data. What a box is for is therefore part of its plaintext:
//
//	token     1 ‖ lp(connection) ‖ lp(origin) ‖ lp(account id) ‖ lp(field) ‖ key id (16 bytes) ‖ token
//	data key  1 ‖ lp("data key") ‖ id (16 bytes) ‖ key (32 bytes)
//	canary    1 ‖ lp("canary")
//	cookie    1 ‖ lp(purpose) ‖ expiry (Unix milliseconds, 8 bytes, big endian) ‖ content
//
// The leading 1 is the version of the layout; lp is a length as an unsigned varint, then that many bytes. With a fixed
// number of fields no two contexts share an encoding, nor is one the beginning of another, so opening compares the
// expected beginning with the one found and refuses any difference as [ErrWrongContext]. Whoever can write to the
// database can delete a token, but cannot move it to another connection, origin, account, column or key.
//
// # Life of a data key
//
//	NewDataKey → StoreKey (committed with the TokenIssued or TokenRefreshed that needs it) → Load or Unwrap → ShredKey
//
// A data key exists in the database only wrapped, with its id bound inside. Deleting its row shreds every box under it,
// those in the append-only log included ([ShredKey], committed with the event that ends the token). A backup that holds
// the row still opens, with the operator's key, what lived then. Unwrapped keys are kept nowhere: opening a token takes the
// row of its key and two secretboxes.
//
// # Failure
//
// A missing or weak key is a [*KeyError] that says how to make one. A key that is sound but not the one the database
// was sealed under is found at boot by [Vault.Check], before anything is sealed under it, as a [*WrongKeyError]; the
// canary finds it even while no token is stored. A box that does not open is an [*OpenError] that names the connection
// and the field and wraps [ErrCannotOpen] or [ErrWrongContext]. A key that is gone is [ErrShredded]. No error and no
// printed value of this package contains key material, plaintext or ciphertext.
package vault
