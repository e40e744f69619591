package kv_test

import (
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/blobkv/blobkv/kv"
)

// A store in an image file. Every write is durable when it returns.
func Example() {
	dir, err := os.MkdirTemp("", "kv")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	db, err := kv.Open(filepath.Join(dir, "store.img"), &kv.Options{CreateIfMissing: true})
	if err != nil {
		log.Fatal(err)
	}
	if err := db.Set([]byte("greeting"), []byte("hello")); err != nil {
		log.Fatal(err)
	}
	value, err := db.Get([]byte("greeting"))
	fmt.Printf("%s %v\n", value, err)
	_, err = db.Get([]byte("farewell"))
	fmt.Println(errors.Is(err, kv.ErrNotFound))
	if err := db.Close(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// hello <nil>
	// true
}

// Changes that belong together go into a batch: all of them or none, also across a power cut.
func ExampleDB_NewBatch() {
	db, err := kv.Open("malloc:64MiB", &kv.Options{CreateIfMissing: true})
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	b := db.NewBatch()
	defer b.Close()
	b.Set([]byte("alice"), []byte("90"))
	b.Set([]byte("bob"), []byte("110"))
	b.Delete([]byte("pending"))
	if err := b.Commit(); err != nil {
		log.Fatal(err)
	}
	v, _ := db.Get([]byte("bob"))
	fmt.Printf("%s\n", v)
	// Output: 110
}

// A range loop over part of the keys.
func ExampleIterator_All() {
	db, err := kv.Open("malloc:64MiB", &kv.Options{CreateIfMissing: true})
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	for _, name := range []string{"apple", "banana", "cherry", "date"} {
		db.Set([]byte(name), []byte("fruit"), kv.NoSync)
	}

	it, err := db.NewIterator(&kv.IterOptions{LowerBound: []byte("b"), UpperBound: []byte("d")})
	if err != nil {
		log.Fatal(err)
	}
	for k, v := range it.All() {
		fmt.Printf("%s %s\n", k, v)
	}
	if err := it.Close(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// banana fruit
	// cherry fruit
}

// NoSync trades durability for speed, call by call; one synced write makes all before it durable.
func ExampleDB_Set_noSync() {
	db, err := kv.Open("malloc:64MiB", &kv.Options{CreateIfMissing: true})
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	for i := range 1000 {
		db.Set(fmt.Appendf(nil, "row%d", i), []byte("imported"), kv.NoSync)
	}
	if err := db.Set([]byte("imported"), []byte("1000")); err != nil {
		log.Fatal(err)
	}
	v, _ := db.Get([]byte("row999"))
	fmt.Printf("%s\n", v)
	// Output: imported
}

// A snapshot does not see what happens after it.
func ExampleDB_NewSnapshot() {
	db, err := kv.Open("malloc:64MiB", &kv.Options{CreateIfMissing: true})
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	db.Set([]byte("stock"), []byte("5"))
	s, err := db.NewSnapshot()
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	db.Set([]byte("stock"), []byte("4"))
	before, _ := s.Get([]byte("stock"))
	now, _ := db.Get([]byte("stock"))
	fmt.Printf("%s %s\n", before, now)
	// Output: 5 4
}
