package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
)

// A failure is why the API server rejects an object: an error, or a part of it.
type failure struct {
	Index  int    `json:"index"`
	Object string `json:"object"`
	// Whether the object cannot be created, or not be updated from its old version.
	Operation string `json:"operation"`
	// As the API server writes it, and as the keys and indexes in the object.
	Field string `json:"field"`
	Path  []any  `json:"path"`
	// Kubernetes' name, for example FieldValueInvalid; "Merge" if the object cannot be merged.
	Type   string `json:"type"`
	Value  any    `json:"value,omitempty"`
	Detail string `json:"detail"`
}

const ofMerging = "Merge"

// unplaced returns a failure that belongs to no field.
func unplaced(err error) []failure {
	return []failure{{Path: []any{}, Type: string(metav1.CauseTypeUnexpectedServerResponse), Detail: err.Error()}}
}

// failuresOf returns the parts of an error of the API server; nil for no error.
func failuresOf(err error, object *unstructured.Unstructured) []failure {
	if err == nil {
		return nil
	}
	var status *apierrors.StatusError
	if !errors.As(err, &status) || status.ErrStatus.Details == nil ||
		len(status.ErrStatus.Details.Causes) == 0 {
		return unplaced(err)
	}
	var found []failure
	for _, cause := range status.ErrStatus.Details.Causes {
		value, detail := parts(cause)
		found = append(found, failure{
			Field: cause.Field, Path: pathOf(cause.Field, object.Object),
			Type: string(cause.Type), Value: value, Detail: detail,
		})
	}
	return found
}

// parts returns the value and the rest of a cause's message: Invalid value: "x": must be …
func parts(cause metav1.StatusCause) (any, string) {
	title := field.ErrorType(cause.Type).String()
	rest, found := strings.CutPrefix(cause.Message, title)
	if !found {
		return nil, cause.Message
	}
	rest = strings.TrimPrefix(rest, ": ")
	// What follows may be a difference of the whole objects.
	rest, _, _ = strings.Cut(rest, "\n")
	switch field.ErrorType(cause.Type) {
	case field.ErrorTypeInvalid, field.ErrorTypeTypeInvalid, field.ErrorTypeNotSupported,
		field.ErrorTypeNotFound, field.ErrorTypeDuplicate, field.ErrorTypeTooMany:
	default:
		return nil, rest
	}
	if quoted, err := strconv.QuotedPrefix(rest); err == nil {
		value, _ := strconv.Unquote(quoted)
		return value, strings.TrimPrefix(rest[len(quoted):], ": ")
	}
	if strings.HasPrefix(rest, "{") || strings.HasPrefix(rest, "[") {
		var ignored any
		decoder := json.NewDecoder(strings.NewReader(rest))
		if decoder.Decode(&ignored) == nil {
			return nil, strings.TrimPrefix(rest[decoder.InputOffset():], ": ")
		}
		return nil, rest
	}
	text, detail, _ := strings.Cut(rest, ": ")
	var value any
	if json.Unmarshal([]byte(text), &value) != nil {
		value = text
	}
	return value, detail
}

// A step is a name, or what is in brackets: an index, a key of a map, the keys of an item, or the
// item itself.
var step = regexp.MustCompile(`\[((?:[^\]"]|"(?:[^"\\]|\\.)*")*)\]|([^.\[\]]+)`)

// pathOf returns the keys and indexes of a field in the object, like spec.containers[0].name.
func pathOf(name string, object any) []any {
	path := []any{}
	for _, match := range step.FindAllStringSubmatch(name, -1) {
		text := match[1] + match[2]
		next := any(text)
		if list, ok := object.([]any); ok {
			index := indexOf(text, list, 0)
			if index < 0 {
				return path
			}
			next = index
		} else if index, err := strconv.Atoi(match[1]); err == nil && object == nil {
			next = index
		}
		if next == "" {
			return path
		}
		// Kubernetes says spec.LoadBalancerSourceRanges, which is its name inside.
		if fields, ok := object.(map[string]any); ok && fields[text] == nil && match[2] != "" {
			if lower := strings.ToLower(text[:1]) + text[1:]; fields[lower] != nil {
				next = lower
			}
		}
		path = append(path, next)
		object = child(object, next)
	}
	return path
}

func child(object any, key any) any {
	switch of := object.(type) {
	case map[string]any:
		if name, ok := key.(string); ok {
			return of[name]
		}
	case []any:
		if index, ok := key.(int); ok && index < len(of) {
			return of[index]
		}
	}
	return nil
}

// indexOf returns the index of the item that the text names, of those that follow the first ones:
// 0, name="besu", containerPort=80,protocol="TCP" or the item's value; -1 if it is none of them.
func indexOf(text string, list []any, first int) int {
	if index, err := strconv.Atoi(text); err == nil && !strings.Contains(text, "=") {
		return index
	}
	for index := first; index < len(list); index++ {
		if isNamed(text, list[index]) {
			return index
		}
	}
	return -1
}

var keyed = regexp.MustCompile(`(\w+)=("(?:[^"\\]|\\.)*"|[^,]+)`)

func isNamed(text string, item any) bool {
	fields, ok := item.(map[string]any)
	if !ok {
		return text == fmt.Sprint(item) || text == strconv.Quote(fmt.Sprint(item))
	}
	keys := keyed.FindAllStringSubmatch(text, -1)
	for _, key := range keys {
		value, set := fields[key[1]]
		// A key that is not set has its default, for example the protocol.
		if set && key[2] != fmt.Sprint(value) && key[2] != strconv.Quote(fmt.Sprint(value)) {
			return false
		}
	}
	return len(keys) > 0
}

var duplicated = regexp.MustCompile(`^duplicate entries for key \[(.*)\]$`)

// ofMerge returns why an object cannot be merged: unknown fields, other types, duplicate items.
func ofMerge(all typed.ValidationErrors, object *unstructured.Unstructured) []failure {
	var found []failure
	for _, one := range all {
		path := pathOf(one.Path, object.Object)
		if again := duplicated.FindStringSubmatch(one.ErrorMessage); again != nil {
			path = append(path, second(again[1], path, object.Object)...)
		}
		found = append(found, failure{
			Field: strings.TrimPrefix(one.Path, "."), Path: path,
			Type: ofMerging, Detail: one.ErrorMessage,
		})
	}
	return found
}

// withoutUnknown returns a copy of the object without its unknown fields; nil if it has none, or if
// other failures prevent the merge.
func withoutUnknown(object *unstructured.Unstructured, found []failure) *unstructured.Unstructured {
	rest := object.DeepCopy()
	for _, one := range found {
		if one.Type != ofMerging || one.Detail != "field not declared in schema" {
			return nil
		}
		var parent any = rest.Object
		for _, key := range one.Path[:len(one.Path)-1] {
			parent = child(parent, key)
		}
		name, isName := one.Path[len(one.Path)-1].(string)
		fields, isMapping := parent.(map[string]any)
		if !isName || !isMapping {
			return nil
		}
		delete(fields, name)
	}
	if len(found) == 0 {
		return nil
	}
	return rest
}

// second returns the index of the second item with the keys, in the list at a path.
func second(keys string, path []any, object any) []any {
	for _, key := range path {
		object = child(object, key)
	}
	list, _ := object.([]any)
	if first := indexOf(keys, list, 0); first >= 0 {
		if index := indexOf(keys, list, first+1); index >= 0 {
			return []any{index}
		}
	}
	return nil
}
