package openrpc

import (
	"bytes"
	"encoding/json"

	"github.com/micromessaging/jsonrpc2"
)

// version is that of OpenRPC. Later ones want nothing that these documents lack.
const version = "1.3.2"

// A document and the types below are the objects of the OpenRPC specification, as far as they
// are used here.
type document struct {
	OpenRPC    string     `json:"openrpc"`
	Info       Info       `json:"info"`
	Methods    []*method  `json:"methods"`
	Components components `json:"components"`
}

type components struct {
	Schemas map[string]any            `json:"schemas,omitempty"`
	Errors  map[string]jsonrpc2.Error `json:"errors"`
}

type method struct {
	Name           string    `json:"name"`
	Summary        string    `json:"summary,omitempty"`
	Description    string    `json:"description,omitempty"`
	Deprecated     bool      `json:"deprecated,omitempty"`
	ParamStructure string    `json:"paramStructure"`
	Params         []content `json:"params"`
	Result         content   `json:"result"`
	Errors         []any     `json:"errors"` // each a ref or a jsonrpc2.Error
}

// A content is a content descriptor: a param, or a result.
type content struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	Required    bool   `json:"required,omitempty"`
	Schema      any    `json:"schema"`

	// Variadic stands for any number of params, which OpenRPC has no word for.
	Variadic bool `json:"x-variadic,omitempty"`
}

// A ref is a reference to a component.
type ref struct {
	Ref string `json:"$ref"`
}

// A schema is a JSON Schema, draft 7. The schemas in it are of this type, or what
// Options.Schema has returned.
type schema struct {
	Description          string     `json:"description,omitempty"`
	Type                 any        `json:"type,omitempty"` // a string or several
	Format               string     `json:"format,omitempty"`
	ContentEncoding      string     `json:"contentEncoding,omitempty"`
	Minimum              *int       `json:"minimum,omitempty"`
	Properties           properties `json:"properties,omitempty"`
	Required             []string   `json:"required,omitempty"`
	AdditionalProperties any        `json:"additionalProperties,omitempty"`
	Items                any        `json:"items,omitempty"`
	MinItems             *int       `json:"minItems,omitempty"`
	MaxItems             *int       `json:"maxItems,omitempty"`
	AllOf                []any      `json:"allOf,omitempty"`
	AnyOf                []any      `json:"anyOf,omitempty"`
	Not                  *schema    `json:"not,omitempty"`
}

// properties are encoded as an object, in their order.
type properties []property

type property struct {
	name   string
	schema any
}

// MarshalJSON implements json.Marshaler.
func (p properties) MarshalJSON() ([]byte, error) {
	b := bytes.NewBufferString("{")
	for i, property := range p {
		if i > 0 {
			b.WriteByte(',')
		}
		name, _ := json.Marshal(property.name) // a string always encodes
		value, err := json.Marshal(property.schema)
		if err != nil {
			return nil, err
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}
