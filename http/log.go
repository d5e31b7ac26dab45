package http

import (
	"net/http"
	"strings"

	"github.com/go-chi/chi/v5"

	"github.com/forgeauth/forgeauth/projections"
	"github.com/forgeauth/forgeauth/proof"
)

// routeLog serves the Merkle tree over the log (C2SP tlog-tiles). Entries say what happened, which is for a session; hashes say how
// often something did.
func (s *server) routeLog(r chi.Router) {
	session := func(serve endpoint) http.HandlerFunc {
		return s.operator(func(w http.ResponseWriter, r *http.Request, _ projections.View) error { return serve(w, r) })
	}
	hashes := session
	if s.config.PublicTree {
		hashes = func(serve endpoint) http.HandlerFunc { return s.endpoint(serve) }
	}
	r.Get("/log/checkpoint", hashes(s.checkpoint))
	r.Get("/log/tile/*", hashes(s.tile))
	r.Get("/log/tile/entries/*", session(s.entries))
}

type endpoint = func(http.ResponseWriter, *http.Request) error

func (s *server) checkpoint(w http.ResponseWriter, r *http.Request) error {
	checkpoint, err := s.config.Tree.Checkpoint(r.Context())
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache")
	_, _ = w.Write([]byte(checkpoint)) // a client that has left is nobody's fault
	return nil
}

// tileOf reads the tile that a path asks for. Partial tiles are the beginnings of full ones and never change either.
func tileOf(r *http.Request) (proof.TilePath, error) {
	return proof.ParseTilePath(strings.TrimPrefix(r.URL.Path, "/log/"))
}

func (s *server) tile(w http.ResponseWriter, r *http.Request) error {
	path, err := tileOf(r)
	if err != nil {
		return err
	}
	hashes, err := s.config.Tree.Tile(r.Context(), path)
	if err != nil {
		return err
	}
	return writeTile(w, hashes, s.config.PublicTree)
}

func (s *server) entries(w http.ResponseWriter, r *http.Request) error {
	path, err := tileOf(r)
	if err != nil {
		return err
	}
	entries, err := s.config.Tree.Entries(r.Context(), s.config.Log, path)
	if err != nil {
		return err
	}
	return writeTile(w, entries, false)
}

func writeTile(w http.ResponseWriter, content []byte, public bool) error {
	w.Header().Set("Content-Type", "application/octet-stream")
	if public {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	_, _ = w.Write(content)
	return nil
}
