package httpconn

import (
	"encoding/base64"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/micromessaging/jsonrpc2"
)

// A target is where the requests go.
type target struct {
	where    string        // the URL as it may be shown: without user, password and query
	template *http.Request // all requests are copies of it; it is not changed after Dial

	secrets    *strings.Replacer // hides the secrets of the URL in a text
	unanswered error             // the error of a call that a JSON-RPC body does not answer
}

// newTarget returns the target for a URL. Its errors do not quote the URL's secrets.
func newTarget(text string) (to target, err error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return to, errors.New("httpconn: bad URL: want http://host/path or https://")
	}
	to.where = u.Scheme + "://" + u.Host + u.Path
	to.template, err = http.NewRequest(http.MethodPost, text, nil)
	if err != nil {
		return to, fmt.Errorf("httpconn: bad URL: %s", to.where)
	}
	to.template.Header.Set("Content-Type", "application/json")
	to.template.Header.Set("Accept", "application/json")
	if u.User != nil {
		password, _ := u.User.Password()
		to.template.SetBasicAuth(u.User.Username(), password)
	}
	to.secrets = newSecrets(u)
	to.unanswered = fmt.Errorf("%w: POST %s: 200 OK, no response to this call", jsonrpc2.ErrBadReply, to.where)
	return to, nil
}

// minSecret is how many bytes a secret must have to be hidden: a shorter one would hide
// too much.
const minSecret = 4

// newSecrets returns a Replacer that hides the secrets of a URL in a text that may quote the
// URL: user, password and query, in each form in which they are sent or shown.
func newSecrets(u *url.URL) *strings.Replacer {
	texts := []string{u.RawQuery}
	if u.User != nil {
		password, _ := u.User.Password()
		basic := u.User.Username() + ":" + password
		texts = append(texts, u.User.Username(), password, basic, base64.StdEncoding.EncodeToString([]byte(basic)))
	}
	for _, values := range u.Query() {
		texts = append(texts, values...)
	}
	for _, text := range texts {
		texts = append(texts, url.QueryEscape(text), url.PathEscape(text), html.EscapeString(text))
	}
	slices.SortFunc(texts, func(a, b string) int { return len(b) - len(a) }) // a text before its parts
	var pairs []string
	for _, text := range slices.Compact(texts) {
		if len(text) >= minSecret {
			pairs = append(pairs, text, "***")
		}
	}
	return strings.NewReplacer(pairs...)
}
