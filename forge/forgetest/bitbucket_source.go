package forgetest

import (
	"cmp"
	"maps"
	"mime"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strings"
)

// bitbucketTerm is one comparison of Bitbucket's query language; the stand-in knows those with = and a string, joined by AND.
var bitbucketTerm = regexp.MustCompile(`^([a-z_.]+)\s*=\s*"((?:[^"\\]|\\.)*)"(?:\s+AND\s+|$)`)

var bitbucketEscape = regexp.MustCompile(`\\(.)`)

// bitbucketQuery reads ?q; false for what is no query or asks for a field that cannot be asked for.
func bitbucketQuery(r *http.Request, fields ...string) (map[string]string, bool) {
	terms := map[string]string{}
	for rest := r.URL.Query().Get("q"); rest != ""; {
		found := bitbucketTerm.FindStringSubmatch(rest)
		if found == nil || !slices.Contains(fields, found[1]) {
			return nil, false
		}
		terms[found[1]] = bitbucketEscape.ReplaceAllString(found[2], "$1")
		rest = rest[len(found[0]):]
	}
	return terms, true
}

type bitbucketCommit struct {
	Type string `json:"type"`
	Hash string `json:"hash"`
}

type bitbucketRef struct {
	Type   string          `json:"type"`
	Name   string          `json:"name"`
	Target bitbucketCommit `json:"target"`
}

// refs lists branches and tags by name.
func (b *bitbucket) refs(w http.ResponseWriter, r *http.Request, at bitbucketPlace) {
	terms, ok := bitbucketQuery(r, "name")
	if !ok {
		b.refuse(w, http.StatusBadRequest, "Invalid query")
		return
	}
	all := []bitbucketRef{}
	b.f.inside(at.repository, func(c *contents) {
		for kind, named := range map[string]map[string]string{"branch": c.branches, "tag": c.tags} {
			for name, hash := range named {
				if wanted, asked := terms["name"]; !asked || wanted == name {
					all = append(all, bitbucketRef{kind, name, bitbucketCommit{"commit", hash}})
				}
			}
		}
	})
	slices.SortFunc(all, func(a, b bitbucketRef) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(b.Type, a.Type)) })
	writeJSON(w, http.StatusOK, bitbucketJSON, bitbucketWindow(b, r, all))
}

// commitOf is the commit that a hash names, in full or the beginning of it; names of branches with a slash do not fit a path.
func (c *contents) commitOf(named string) string {
	if commit := c.resolve(named); commit != "" {
		return commit
	}
	if len(named) < 7 {
		return ""
	}
	for _, hash := range slices.Sorted(maps.Keys(c.trees)) {
		if strings.HasPrefix(hash, named) {
			return hash
		}
	}
	return ""
}

func (b *bitbucket) commit(w http.ResponseWriter, r *http.Request, at bitbucketPlace) {
	hash := ""
	b.f.inside(at.repository, func(c *contents) { hash = c.commitOf(r.PathValue("commit")) })
	if hash == "" {
		b.refuse(w, http.StatusNotFound, "Commit not found")
		return
	}
	writeJSON(w, http.StatusOK, bitbucketJSON, bitbucketCommit{"commit", hash})
}

type bitbucketEntry struct {
	Type       string          `json:"type"`
	Path       string          `json:"path"`
	Size       int             `json:"size"`
	Attributes []string        `json:"attributes"`
	Commit     bitbucketCommit `json:"commit"`
}

// source answers a file as it is, a submodule with the hash that it is at, a directory with a page of what is in it, and each of
// them with what it is under ?format=meta.
func (b *bitbucket) source(w http.ResponseWriter, r *http.Request, at bitbucketPlace) {
	var content []byte
	var found, isDirectory, isSubmodule bool
	entry := bitbucketEntry{Type: "commit_file", Path: strings.TrimSuffix(r.PathValue("path"), "/"), Attributes: []string{}}
	below := []bitbucketEntry{}
	b.f.inside(at.repository, func(c *contents) {
		entry.Commit = bitbucketCommit{"commit", c.commitOf(r.PathValue("commit"))}
		content, found, isDirectory = c.file(entry.Commit.Hash, entry.Path)
		if isSubmodule = c.submodules[entry.Path] && entry.Commit.Hash != ""; isSubmodule {
			content, found, isDirectory = []byte(noCommit), true, false
		}
		for _, name := range slices.Sorted(maps.Keys(c.trees[entry.Commit.Hash])) {
			if isDirectory && strings.HasPrefix(name, entry.Path+"/") {
				below = append(below, bitbucketEntry{Type: "commit_file", Path: name, Attributes: []string{}, Commit: entry.Commit})
			}
		}
	})
	switch {
	case isDirectory:
		entry.Type = "commit_directory"
	case isSubmodule:
		entry.Attributes = []string{"subrepository"}
	}
	entry.Size = len(content)
	switch {
	case entry.Commit.Hash == "":
		b.refuse(w, http.StatusNotFound, "Commit not found")
	case !found && !isDirectory:
		b.refuse(w, http.StatusNotFound, "No such file or directory: "+entry.Path)
	case r.URL.Query().Get("format") == "meta":
		writeJSON(w, http.StatusOK, bitbucketJSON, entry)
	case isDirectory:
		writeJSON(w, http.StatusOK, bitbucketJSON, bitbucketWindow(b, r, below))
	default:
		w.Header().Set("Content-Type", cmp.Or(mime.TypeByExtension(path.Ext(entry.Path)), "text/plain"))
		w.Header().Set("Content-Disposition", "attachment")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_, _ = w.Write(content) // fails only when the client has gone
	}
}
