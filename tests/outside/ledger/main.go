// Command ledger checks a log as a stranger does, with Go's own packages for transparency logs and nothing else:
// the signature of its checkpoint, that every entry is in the tree, and that the tree grew out of earlier ones.
//
//	ledger URL VKEY [EARLIER-CHECKPOINT-FILE ...]
//
// It prints origin and size, and exits with 1 and the reason when anything does not hold.
package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: ledger URL VKEY [EARLIER-CHECKPOINT-FILE ...]")
		os.Exit(2)
	}
	tree, err := check(os.Args[1], os.Args[2], os.Args[3:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("all %d entries proven\n", tree.N)
}

func check(url, vkey string, earlier []string) (tlog.Tree, error) {
	signed, err := get(url + "/checkpoint")
	if err != nil {
		return tlog.Tree{}, err
	}
	tree, err := open(signed, vkey)
	if err != nil {
		return tree, err
	}
	if err := proveEntries(url, tree); err != nil {
		return tree, err
	}
	for _, file := range earlier {
		if err := proveGrowth(url, tree, file, vkey); err != nil {
			return tree, fmt.Errorf("%s: %w", file, err)
		}
	}
	return tree, nil
}

// open gives the tree of a checkpoint that the key signed and that bears the key's name.
func open(signed []byte, vkey string) (tlog.Tree, error) {
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return tlog.Tree{}, err
	}
	opened, err := note.Open(signed, note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() || lines[3] != "" {
		return tlog.Tree{}, errors.New("the checkpoint is not three lines that begin with the key's name")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return tlog.Tree{}, err
	}
	hash, err := tlog.ParseHash(lines[2])
	return tlog.Tree{N: size, Hash: hash}, err
}

// proveEntries checks the inclusion proof of every entry, made from tiles that are checked against the root.
func proveEntries(url string, tree tlog.Tree) error {
	hashes := tlog.TileHashReader(tree, &tiles{url: url})
	for start := int64(0); start < tree.N; start += 1 << height {
		width := min(tree.N-start, 1<<height)
		entries, err := bundle(url, start>>height, int(width))
		if err != nil {
			return err
		}
		for at, entry := range entries {
			number := start + int64(at)
			proof, err := tlog.ProveRecord(tree.N, number, hashes)
			if err != nil {
				return err
			}
			if err := tlog.CheckRecord(proof, tree.N, tree.Hash, number, tlog.RecordHash(entry)); err != nil {
				return fmt.Errorf("entry %d: %w", number, err)
			}
		}
	}
	return nil
}

// proveGrowth checks that the tree of an earlier checkpoint is the beginning of this one, and still readable.
func proveGrowth(url string, tree tlog.Tree, file, vkey string) error {
	signed, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	then, err := open(signed, vkey)
	if err != nil || then.N == 0 {
		return err
	}
	proof, err := tlog.ProveTree(tree.N, then.N, tlog.TileHashReader(tree, &tiles{url: url}))
	if err != nil {
		return err
	}
	if err := tlog.CheckTree(proof, tree.N, tree.Hash, then.N, then.Hash); err != nil {
		return err
	}
	return proveEntries(url, then)
}

// bundle reads entries; their place is that of a tile, with another word where the level would stand.
func bundle(url string, index int64, width int) ([][]byte, error) {
	tile := tlog.Tile{H: height, L: -1, N: index, W: width}
	content, err := get(url + "/tile/entries/" + strings.TrimPrefix(tile.Path(), "tile/8/data/"))
	if err != nil {
		return nil, err
	}
	var entries [][]byte
	for len(content) > 0 {
		if len(content) < 2 || len(content)-2 < int(binary.BigEndian.Uint16(content)) {
			return nil, fmt.Errorf("bundle %d ends within an entry", index)
		}
		end := 2 + int(binary.BigEndian.Uint16(content))
		entries, content = append(entries, content[2:end]), content[end:]
	}
	if len(entries) != width {
		return nil, fmt.Errorf("bundle %d has %d entries, not %d", index, len(entries), width)
	}
	return entries, nil
}

// tiles reads hashes; C2SP's paths are those of the checksum database without the height. It keeps what
// TileHashReader has checked.
type tiles struct {
	url  string
	kept map[tlog.Tile][]byte
}

func (t *tiles) Height() int { return height }

func (t *tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	found := make([][]byte, len(wanted))
	for i, tile := range wanted {
		if found[i] = t.kept[tile]; found[i] != nil {
			continue
		}
		content, err := get(t.url + "/tile/" + strings.TrimPrefix(tile.Path(), "tile/8/"))
		if err != nil {
			return nil, err
		}
		found[i] = content
	}
	return found, nil
}

func (t *tiles) SaveTiles(wanted []tlog.Tile, found [][]byte) {
	if t.kept == nil {
		t.kept = make(map[tlog.Tile][]byte)
	}
	for i, tile := range wanted {
		t.kept[tile] = found[i]
	}
}

func get(url string) ([]byte, error) {
	answer, err := http.Get(url)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(io.LimitReader(answer.Body, 32<<20))
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, answer.Status)
	}
	return content, err
}
