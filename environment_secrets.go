package forgeauth

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/forgeauth/forgeauth/secret"
)

const maxSettingFile = 1 << 20 // bytes; a bundle of all public authorities has a quarter of that

// secret returns a setting that may also stand in the file that name + "_FILE" names. Where it cannot be had, ok is
// false and the fault is noted; a setting that is in neither place is empty and ok. Nothing but one trailing newline of a
// file is stripped.
func (r *environmentReader) secret(name string) (value secret.Text, ok bool) {
	value, ok = r.unstripped(name)
	if r.values[name] == "" {
		value = secret.New(cutNewline(value.Reveal()))
	}
	return value, ok
}

// unstripped is secret for a value of which all bytes of its file count.
func (r *environmentReader) unstripped(name string) (value secret.Text, ok bool) {
	direct, file := r.values[name], r.text(name+fileSuffix)
	switch {
	case direct != "" && file != "":
		r.fault(name, "is set, and so is "+name+fileSuffix, "unset one of the two")
		return secret.Text{}, false
	case file == "":
		return secret.New(direct), true
	}
	content, mode, problem := readSettingFile(file)
	if problem != "" {
		r.fault(name+fileSuffix, "names "+quoteSecretFile(file)+", which "+problem, "name a file that holds nothing but the value, readable by forgeauth")
		return secret.Text{}, false
	}
	if cutNewline(content) == "" {
		r.fault(name+fileSuffix, "names "+quote(file)+", which is empty", "write the value into the file")
		return secret.Text{}, false
	}
	r.checkMode(name+fileSuffix, file, mode)
	return secret.New(content), true
}

// cutNewline removes one trailing newline, as an editor or a shell leaves it.
func cutNewline(s string) string {
	if line, found := strings.CutSuffix(s, "\n"); found {
		return strings.TrimSuffix(line, "\r")
	}
	return s
}

// quoteSecretFile quotes a path, unless it may be the secret itself, set where the name of its file belongs: what is in no
// folder that exists, or right in the root, as base64 that begins with a slash would seem to be.
func quoteSecretFile(path string) string {
	dir := filepath.Dir(path)
	if info, err := os.Stat(dir); !filepath.IsAbs(path) || dir == "/" || err != nil || !info.IsDir() {
		return "a file"
	}
	return quote(path)
}

// checkMode judges who else may touch the file of a secret. Files in /run/secrets are put there by a container's
// runtime, for that container alone and readable by all in it.
func (r *environmentReader) checkMode(name, file string, mode fs.FileMode) {
	const writableByOthers, readableByOthers = 0o002, 0o004
	switch {
	case !mode.IsRegular():
	case mode.Perm()&writableByOthers != 0:
		r.fault(name, "names "+quote(file)+", which everybody on this machine can change", "run chmod 600 on it")
	case mode.Perm()&readableByOthers != 0 && !strings.HasPrefix(file, "/run/secrets/"):
		r.warn(name, "names "+quote(file)+", which everybody on this machine can read", "run chmod 600 on it, as the user who runs forgeauth")
	}
}

// readSettingFile reads a file of bounded size; problem completes "which …". A pipe is read to its end, so that a shell's
// <(command) can be named; one that nobody writes to is empty and not waited for.
func readSettingFile(path string) (content string, mode fs.FileMode, problem string) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) //nolint:gosec // the setting is there to name a file
	if err != nil {
		return "", 0, fileProblem(err)
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return "", 0, fileProblem(err)
	}
	if info.IsDir() {
		return "", 0, "is a folder"
	}
	read, err := io.ReadAll(io.LimitReader(file, maxSettingFile+1))
	switch {
	case err != nil:
		return "", 0, fileProblem(err)
	case len(read) > maxSettingFile:
		return "", 0, "is larger than 1 MiB"
	}
	return string(read), info.Mode(), ""
}

// fileProblem says why a file cannot be read.
func fileProblem(err error) string {
	var path *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "does not exist"
	case errors.Is(err, fs.ErrPermission):
		return "may not be read by the user who runs forgeauth"
	case errors.As(err, &path):
		return "cannot be read: " + path.Err.Error()
	default:
		return "cannot be read"
	}
}
