package httpconn

import (
	"errors"
	"mime"
	"net/http"
	"strconv"
	"strings"
)

// check refuses a request by its header, before its body is read.
func (h *Handler) check(r *http.Request) *refusal {
	switch {
	case r.Method != http.MethodPost:
		return h.refuse(http.StatusMethodNotAllowed, "JSON-RPC is spoken by POST")
	case h.crossOrigin != nil && h.crossOrigin.Check(r) != nil:
		return h.refuse(http.StatusForbidden, "cross-origin requests are refused")
	case !servesType(r.Header):
		return h.refuse(http.StatusUnsupportedMediaType, "the body must be application/json")
	case !acceptsJSON(r.Header.Values("Accept")):
		return h.refuse(http.StatusNotAcceptable, "the answer is application/json")
	case r.ContentLength > h.maxBody.Load():
		return h.bodyTooLarge(h.maxBody.Load())
	}
	return nil
}

// servesType reports whether the body may be JSON, by the header. curl -d and Ruby's
// Net::HTTP send the form type unless another one is set.
func servesType(header http.Header) bool {
	if encoding := header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return false
	}
	contentType := header.Get("Content-Type")
	if contentType == "" || contentType == "application/json" {
		return true
	}
	media, _, err := mime.ParseMediaType(contentType)
	return (err == nil || errors.Is(err, mime.ErrInvalidMediaParameter)) &&
		(isJSON(media) || media == "application/x-www-form-urlencoded")
}

// isJSON reports whether a media type is JSON.
func isJSON(media string) bool {
	switch media {
	case "application/json", "application/json-rpc", "application/jsonrequest", "text/json":
		return true
	}
	return strings.HasSuffix(media, "+json")
}

// acceptsJSON reports whether some range of the Accept lines admits JSON. A range that can't
// be read does.
func acceptsJSON(lines []string) bool {
	if len(lines) == 0 {
		return true
	}
	for _, line := range lines {
		if line == "application/json" {
			return true
		}
		for part := range strings.SplitSeq(line, ",") {
			if strings.TrimSpace(part) == "" {
				return true // an empty range asks for nothing
			}
			media, params, err := mime.ParseMediaType(part)
			quality, qErr := strconv.ParseFloat(params["q"], 64)
			refused := qErr == nil && quality == 0
			admits := isJSON(media) || media == "*/*" || media == "application/*" || media == "*" || err != nil
			if admits && !refused {
				return true
			}
		}
	}
	return false
}
