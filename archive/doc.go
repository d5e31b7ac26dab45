// Package archive writes a deployment to a file and reads it back into an empty database, byte for byte.
//
// A file has one JSON document on each line: a header, every event of the log in order, with --with-keys the wrapped data keys and the
// canary, and an end that says how many events there are and the root of the tree over them. What is sealed is in it as ciphertext.
// Without keys nobody can open it, with keys whoever has the encryption key can.
package archive
