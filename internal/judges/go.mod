module github.com/blobkv/blobkv/internal/judges

go 1.26.0

require (
	github.com/blobkv/blobkv v0.0.0
	github.com/ncruces/go-sqlite3 v0.30.4
	github.com/stretchr/testify v1.12.1
	github.com/syndtr/goleveldb v1.0.1-0.20220721030215-126854af5e6d
)

require (
	github.com/golang/snappy v1.0.0 // indirect
	github.com/ncruces/julianday v1.0.0 // indirect
	github.com/tetratelabs/wazero v1.11.0 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/sys v0.49.0 // indirect
)

replace github.com/blobkv/blobkv => ../..
