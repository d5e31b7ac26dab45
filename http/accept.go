package http

import (
	"mime"
	"net/http"
	"strconv"
	"strings"
)

// prefersHTML reports whether a page is wanted: only if the header Accept ranks text/html above application/json (RFC
// 9110 §12.5.1). Browsers do so when they navigate. No header, */* and a tie mean JSON.
func prefersHTML(r *http.Request) bool {
	accept := strings.Join(r.Header.Values("Accept"), ",")
	return quality(accept, "text", "html") > quality(accept, "application", "json")
}

// quality returns the weight that an Accept header gives to a media type, in thousandths; the most specific range that
// matches decides, and among equal ones the first. Malformed elements and those with parameters of their own
// (text/html;level=1) count for nothing.
func quality(accept, main, sub string) int {
	const longest, mostElements = 4096, 64
	if len(accept) > longest {
		return 0
	}
	best, weight := 0, 0
	for i, element := range strings.Split(accept, ",") {
		if i == mostElements {
			break
		}
		mediaType, parameters, err := mime.ParseMediaType(element)
		if err != nil {
			continue
		}
		q, hasQ := parameters["q"]
		if len(parameters) > 1 || len(parameters) == 1 && !hasQ {
			continue
		}
		specificity := 0
		switch mediaType {
		case main + "/" + sub:
			specificity = 3
		case main + "/*":
			specificity = 2
		case "*/*":
			specificity = 1
		}
		if specificity > best {
			best, weight = specificity, parseWeight(q, hasQ)
		}
	}
	return weight
}

// parseWeight reads a qvalue (RFC 9110 §12.4.2) in thousandths: 1 if there is none, 0 if it is malformed.
func parseWeight(q string, given bool) int {
	if !given {
		return 1000
	}
	whole, fraction, _ := strings.Cut(q, ".")
	if whole != "0" && whole != "1" || len(fraction) > 3 {
		return 0
	}
	thousandths, err := strconv.ParseUint(whole+fraction+strings.Repeat("0", 3-len(fraction)), 10, 16)
	if err != nil || thousandths > 1000 {
		return 0
	}
	return int(thousandths)
}
