package forge

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What is checked here no forge could take, or a forge could take it for something else: adapters check before they send
// anything. All checks fail with [ErrInvalid] and a reason that quotes nothing of what was checked.

// The most that any forge takes, in characters; one that takes less says so.
const (
	maxTitle       = MaxStringLength
	maxText        = 1_000_000
	maxPath        = 4096
	maxRevision    = MaxStringLength
	maxAddress     = 2048
	maxID          = 64
	maxDescription = 140
)

// invalid is [ErrInvalid] with a reason in our own words.
func invalid(reason string) error { return fmt.Errorf("%w (%s)", ErrInvalid, reason) }

// Check refuses a reference that names no repository, or a path that is not names between slashes, at least two.
func (r RepositoryRef) Check() error {
	if r.ID != "" {
		return CheckID(r.ID)
	}
	if r.Path == "" {
		return invalid("the repository has neither id nor path")
	}
	if !strings.Contains(r.Path, "/") {
		return invalid("a repository's path is its owner and its name with a slash between")
	}
	return checkSegments("the repository's path", r.Path)
}

// OwnerAndName splits the path where a forge has exactly two names in it. The reference must have passed its check.
func (r RepositoryRef) OwnerAndName() (owner, name string, err error) {
	owner, name, _ = strings.Cut(r.Path, "/")
	if owner == "" || name == "" || strings.Contains(name, "/") {
		return "", "", invalid("a repository's path is owner/name at this kind of forge")
	}
	return owner, name, nil
}

// CheckID refuses what is no id of anything: ids are numbers, or UUIDs that may be in braces.
func CheckID(id string) error {
	isPart := func(r rune) bool {
		return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune("{}-_", r)
	}
	if id == "" || len(id) > maxID || strings.ContainsFunc(id, func(r rune) bool { return !isPart(r) }) {
		return invalid("that is no id")
	}
	return nil
}

// CheckFilePath refuses a path that does not lead from the repository's root to a file: with a slash before or behind
// it, with empty, . or .. parts, or with parts that a server could take for those.
func CheckFilePath(path string) error { return checkSegments("the file's path", path) }

func checkSegments(what, path string) error {
	switch {
	case path == "", strings.HasPrefix(path, "/"), strings.HasSuffix(path, "/"), strings.Contains(path, "//"):
		return invalid(what + " has an empty part: write it without a slash before or behind it")
	case utf8.RuneCountInString(path) > maxPath:
		return invalid(what + " is too long")
	case !isPrintable(path):
		return invalid(what + " is not UTF-8 without control characters")
	case climbs(EscapePath(path)):
		return invalid(what + " has a part . or .., or one that a server could take for that")
	}
	return nil
}

// EscapePath escapes the parts of a path for a URL and leaves the slashes between them.
func EscapePath(path string) string {
	parts := strings.Split(path, "/")
	for i, part := range parts {
		parts[i] = url.PathEscape(part)
	}
	return strings.Join(parts, "/")
}

// CheckRevision refuses what Git has for no branch, tag or commit (git-check-ref-format); empty is the default branch.
func CheckRevision(revision string) error {
	if revision == "" {
		return nil
	}
	return checkRefName("the revision", revision)
}

func checkRefName(what, name string) error {
	isForbidden := func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`~^:?*[\`, r) }
	isBadPart := func(part string) bool {
		return part == "" || strings.HasPrefix(part, ".") || strings.HasSuffix(part, ".lock")
	}
	switch {
	case name == "":
		return invalid(what + " is missing")
	case utf8.RuneCountInString(name) > maxRevision:
		return invalid(what + " is too long")
	case !utf8.ValidString(name), strings.ContainsFunc(name, isForbidden), slices.ContainsFunc(strings.Split(name, "/"), isBadPart),
		strings.Contains(name, ".."), strings.Contains(name, "@{"), name == "@", strings.HasSuffix(name, "."), strings.HasPrefix(name, "-"),
		climbs(EscapePath(name)):
		return invalid(what + " is no name that Git has for a branch, tag or commit")
	}
	return nil
}

// CheckCommit refuses what is not the full hash of a commit: 40 digits (SHA-1) or 64 (SHA-256).
func CheckCommit(commit string) error {
	isDigit := func(r rune) bool { return r >= '0' && r <= '9' || r >= 'a' && r <= 'f' }
	if len(commit) != 40 && len(commit) != 64 || strings.ContainsFunc(commit, func(r rune) bool { return !isDigit(r) }) {
		return invalid("a commit is named by its full hash, 40 or 64 hexadecimal digits in lower case")
	}
	return nil
}

// CheckNumber refuses numbers that no issue and no change has.
func CheckNumber(number int64) error {
	if number <= 0 {
		return invalid("numbers of issues and changes are positive")
	}
	return nil
}

// CheckText refuses the body of a comment that is blank, too long or not UTF-8.
func CheckText(text string) error {
	if strings.TrimSpace(text) == "" {
		return invalid("the text is blank")
	}
	return checkBody(text)
}

func checkBody(text string) error {
	if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
		return invalid("the text is not UTF-8")
	}
	if utf8.RuneCountInString(text) > maxText {
		return invalid("the text is too long")
	}
	return nil
}

// Check refuses a status that lacks a part, or that a person could not read or open.
func (s Status) Check() error {
	switch s.State {
	case StatusPending, StatusSuccess, StatusFailure, StatusError:
	default:
		return invalid("the status has no state that is known")
	}
	if s.Context == "" || !IsClean(s.Context) {
		return invalid("a status is named by 1 to 255 visible characters")
	}
	if !utf8.ValidString(s.Description) {
		return invalid("the description is not UTF-8")
	}
	if s.TargetURL != "" {
		return checkAddress("the status's address", s.TargetURL)
	}
	return nil
}

// Summary is the description as all forges take it: one line of at most 140 characters.
func (s Status) Summary() string {
	line := []rune(CleanString(strings.Join(strings.Fields(s.Description), " ")))
	if len(line) > maxDescription {
		line = append(line[:maxDescription-1], '…')
	}
	return string(line)
}

// Check refuses a change that lacks a part or proposes a branch to itself.
func (c NewChange) Check() error {
	switch {
	case strings.TrimSpace(c.Title) == "", utf8.RuneCountInString(c.Title) > maxTitle, !isPrintable(c.Title):
		return invalid("the title is not one line of 1 to 255 characters")
	case c.Source == c.Target:
		return invalid("both branches are the same")
	}
	if err := checkRefName("the source branch", c.Source); err != nil {
		return err
	}
	if c.Target != "" {
		if err := checkRefName("the target branch", c.Target); err != nil {
			return err
		}
	}
	return checkBody(c.Body)
}

// Check holds a webhook to what [HookSpec] says of its fields.
func (h HookSpec) Check() error {
	if err := checkAddress("the webhook's address", h.URL); err != nil {
		return err
	}
	if secret := h.Secret.Reveal(); len(secret) < 16 || len(secret) > 255 || !isVisibleASCII(secret) {
		return invalid("the webhook's secret is not 16 to 255 visible ASCII characters")
	}
	if len(h.Events) == 0 {
		return invalid("the webhook has no event")
	}
	for i, event := range h.Events {
		switch event {
		case HookPush, HookChange, HookIssue, HookComment:
		case HookPing, HookOther:
			return invalid("the webhook has an event that nobody can ask for")
		default:
			return invalid("the webhook has an event that is not known")
		}
		if slices.Contains(h.Events[:i], event) {
			return invalid("the webhook has an event twice")
		}
	}
	return nil
}

// checkAddress refuses what is no plain web address. Credentials in it would be shown to everybody who sees the page.
func checkAddress(what, address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil, !isPrintable(address), strings.ContainsAny(address, " \\"), len(address) > maxAddress,
		u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "", u.Opaque != "":
		return invalid(what + " is no http or https URL")
	case u.User != nil:
		return invalid(what + " holds credentials: leave them out")
	}
	return nil
}

func isPrintable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}
