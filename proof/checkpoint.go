package proof

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/forgeauth/forgeauth/secret"
)

// Keys sign checkpoints: Ed25519, in the form of golang.org/x/mod/sumdb/note. The name of the first is the log's origin. While a
// key is being rotated, the one before signs too, so that who has only its public key can go on checking.
type Keys struct {
	signers   []note.Signer
	verifiers []note.Verifier
	public    []string
	origin    string
}

// ErrBadSigningKey says that a text is no signing key.
var ErrBadSigningKey = errors.New("this is not a signing key: make one with `forgeauth keys generate NAME`")

// ParseKeys returns the keys of the given texts, the present one first. All must have the same name. The error holds no part of
// a key.
func ParseKeys(present secret.Text, previous ...secret.Text) (*Keys, error) {
	keys := &Keys{}
	for i, text := range append([]secret.Text{present}, previous...) {
		encoded := strings.TrimSpace(text.Reveal())
		signer, err := note.NewSigner(encoded)
		if err != nil {
			return nil, ErrBadSigningKey
		}
		public, err := publicKey(encoded)
		if err != nil {
			return nil, ErrBadSigningKey
		}
		verifier, err := note.NewVerifier(public)
		if err != nil {
			return nil, ErrBadSigningKey
		}
		if i > 0 && signer.Name() != keys.origin {
			return nil, fmt.Errorf("a previous signing key is named %q and the present one %q: the name is the log's and stays", signer.Name(), keys.origin)
		}
		keys.origin = signer.Name()
		if slices.Contains(keys.public, public) {
			continue
		}
		keys.signers, keys.verifiers = append(keys.signers, signer), append(keys.verifiers, verifier)
		keys.public = append(keys.public, public)
	}
	return keys, nil
}

// publicKey returns the public half of a signing key that [note.NewSigner] takes: PRIVATE+KEY+NAME+HASH+SEED, where the seed has the
// algorithm before it.
func publicKey(signing string) (string, error) {
	parts := strings.SplitN(signing, "+", 5)
	if len(parts) != 5 {
		return "", ErrBadSigningKey
	}
	seed, err := base64.StdEncoding.DecodeString(parts[4])
	if err != nil || len(seed) != 1+ed25519.SeedSize {
		return "", ErrBadSigningKey
	}
	public, ok := ed25519.NewKeyFromSeed(seed[1:]).Public().(ed25519.PublicKey)
	if !ok {
		return "", ErrBadSigningKey
	}
	text, err := note.NewEd25519VerifierKey(parts[2], public)
	if err != nil {
		return "", ErrBadSigningKey
	}
	return text, nil
}

// GenerateKey returns a new signing key and the public key that checks its signatures. The name tells logs apart: a host name
// and a path, such as auth.example.org/log, without spaces or plus signs.
func GenerateKey(name string) (signing secret.Text, public string, err error) {
	if name == "" || strings.ContainsAny(name, " \t\n+") {
		return secret.Text{}, "", fmt.Errorf("the name %q cannot be a log's: use a host name and a path, such as auth.example.org/log", name)
	}
	private, public, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		return secret.Text{}, "", fmt.Errorf("generate a signing key: %w", err)
	}
	return secret.New(private), public, nil
}

// sign returns the signed checkpoint of a tree.
func (k *Keys) sign(tree tlog.Tree) (string, error) {
	text := torchwood.Checkpoint{Origin: k.origin, Tree: tree}.String()
	signed, err := note.Sign(&note.Note{Text: text}, k.signers...)
	if err != nil {
		return "", fmt.Errorf("sign the checkpoint: %w", err)
	}
	return string(signed), nil
}

// present accepts what the present key has signed.
func (k *Keys) present() Policy { return Policy{origin: k.origin, verifiers: k.verifiers[:1]} }

// Policy returns what accepts the checkpoints of these keys.
func (k *Keys) Policy() Policy { return Policy{origin: k.origin, verifiers: k.verifiers} }

// Policy accepts checkpoints of one log that one of its public keys has signed. The zero Policy accepts none.
type Policy struct {
	origin    string
	verifiers []note.Verifier
}

// ErrBadPublicKey says that a text is no public key of a log.
var ErrBadPublicKey = errors.New("this is not the public key of a log: it looks like NAME+HASH+KEY, and `forgeauth keys status` prints it")

// ParsePolicy returns what accepts the checkpoints that one of the public keys signed, all of the same log.
func ParsePolicy(public ...string) (Policy, error) {
	var p Policy
	for i, text := range public {
		verifier, err := note.NewVerifier(strings.TrimSpace(text))
		if err != nil {
			return Policy{}, ErrBadPublicKey
		}
		if i > 0 && verifier.Name() != p.origin {
			return Policy{}, fmt.Errorf("the public keys are of two logs, %s and %s", p.origin, verifier.Name())
		}
		p.origin = verifier.Name()
		if !slices.ContainsFunc(p.verifiers, func(v note.Verifier) bool { return v.KeyHash() == verifier.KeyHash() }) {
			p.verifiers = append(p.verifiers, verifier)
		}
	}
	if len(p.verifiers) == 0 {
		return Policy{}, ErrBadPublicKey
	}
	return p, nil
}

// Origin is the name of the log.
func (p Policy) Origin() string { return p.origin }

func (p Policy) torchwood() torchwood.Policy {
	if len(p.verifiers) == 0 {
		return torchwood.OriginPolicy("") // knows no key
	}
	signed := make([]torchwood.Policy, 0, len(p.verifiers))
	for _, verifier := range p.verifiers {
		signed = append(signed, torchwood.SingleVerifierPolicy(verifier))
	}
	return torchwood.ThresholdPolicy(2, torchwood.OriginPolicy(p.origin), torchwood.ThresholdPolicy(1, signed...))
}

// BadCheckpointError says that a text is not a checkpoint that one of the log's keys has signed.
type BadCheckpointError struct {
	Cause error
}

func (e *BadCheckpointError) Error() string {
	return "the checkpoint is not signed by a key of this log: " + e.Cause.Error()
}

// Unwrap returns the cause.
func (e *BadCheckpointError) Unwrap() error { return e.Cause }

// ParseUnsigned returns the tree of a checkpoint whose signatures nobody checks, or a *[BadCheckpointError].
func ParseUnsigned(text string) (tlog.Tree, error) {
	checkpoint, err := torchwood.ParseCheckpoint(unsigned(text))
	if err != nil {
		return tlog.Tree{}, &BadCheckpointError{err}
	}
	return checkpoint.Tree, nil
}

// maxCheckpoint bounds what is read as a checkpoint, in bytes.
const maxCheckpoint = 64 << 10

// ReadCheckpoint returns the tree of a signed checkpoint, or a *[BadCheckpointError].
func (p Policy) ReadCheckpoint(text string) (tlog.Tree, error) {
	if len(text) > maxCheckpoint {
		return tlog.Tree{}, &BadCheckpointError{errors.New("it is too long")}
	}
	checkpoint, _, err := torchwood.VerifyCheckpoint([]byte(text), p.torchwood())
	if err != nil {
		return tlog.Tree{}, &BadCheckpointError{err}
	}
	return checkpoint.Tree, nil
}

// PublicKeys returns the texts that [ParsePolicy] accepts, the present key's first. They have the form NAME+HASH+KEY.
func (k *Keys) PublicKeys() []string { return slices.Clone(k.public) }

// readCheckpoint reads a text that is short enough to be a checkpoint.
func readCheckpoint(r io.Reader) (string, error) {
	var b bytes.Buffer
	if _, err := io.Copy(&b, io.LimitReader(r, maxCheckpoint+1)); err != nil {
		return "", fmt.Errorf("read the checkpoint: %w", err)
	}
	return b.String(), nil
}
