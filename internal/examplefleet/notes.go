package examplefleet

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// Bounds of the notes kept in memory; put refuses what is over them.
const (
	maxNotes     = 1000
	maxNoteBytes = 64 << 10
	maxNoteName  = 200
)

type noteName struct {
	Name string `json:"name" jsonschema:"name of the note"`
}

type note struct {
	Name string `json:"name" jsonschema:"name of the note"`
	Text string `json:"text" jsonschema:"what the note says"`
}

type storedNote struct {
	Name      string    `json:"name"`
	Text      string    `json:"text"`
	UpdatedAt time.Time `json:"updated_at"`
}

type putResult struct {
	Name     string `json:"name"`
	Replaced bool   `json:"replaced" jsonschema:"true if there was a note of that name"`
}

type nothing struct{}

type noteList struct {
	Names []string `json:"names" jsonschema:"all names in alphabetical order"`
}

// notebook keeps the notes of one process. The SDK calls tools concurrently.
type notebook struct {
	mu    sync.Mutex
	notes map[string]storedNote
}

func newNotes() *mcp.Server {
	book := &notebook{notes: map[string]storedNote{}}
	s := mcp.NewServer(implementation("notes", "Notes"), &mcp.ServerOptions{
		Instructions: "The notes live in the server's memory: they are gone when it stops.",
	})
	destructive := true
	addTool(s, "put", "Write a note; a note of the same name is replaced.",
		mcp.ToolAnnotations{IdempotentHint: true, DestructiveHint: &destructive}, book.put)
	addTool(s, "get", "Read a note.", readOnly(), book.get)
	addTool(s, "list", "List the names of all notes.", readOnly(), book.list)
	return s
}

func (b *notebook) put(in note) (putResult, error) {
	switch {
	case in.Name == "" || len(in.Name) > maxNoteName:
		return putResult{}, fmt.Errorf("the name of a note must have 1 to %d bytes", maxNoteName)
	case len(in.Text) > maxNoteBytes:
		return putResult{}, fmt.Errorf("the note is longer than %d bytes", maxNoteBytes)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	_, replaced := b.notes[in.Name]
	if !replaced && len(b.notes) >= maxNotes {
		return putResult{}, fmt.Errorf("there are %d notes, which is the limit", maxNotes)
	}
	b.notes[in.Name] = storedNote{Name: in.Name, Text: in.Text, UpdatedAt: time.Now().UTC()}
	return putResult{Name: in.Name, Replaced: replaced}, nil
}

func (b *notebook) get(in noteName) (storedNote, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	stored, ok := b.notes[in.Name]
	if !ok {
		return storedNote{}, fmt.Errorf("no note %q", in.Name)
	}
	return stored, nil
}

func (b *notebook) list(nothing) (noteList, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := noteList{Names: make([]string, 0, len(b.notes))}
	for name := range b.notes {
		list.Names = append(list.Names, name)
	}
	slices.Sort(list.Names)
	return list, nil
}
