package nvmetest

// Controller is what the tests know of a controller from whoever made it.
type Controller struct {
	Queues     int         `json:",omitempty"` // I/O queue pairs
	MDTS       int         `json:",omitempty"` // the largest transfer is 4 KiB << MDTS
	CMB        int         `json:",omitempty"` // controller memory buffer, MiB
	NoCache    bool        `json:",omitempty"` // no volatile write cache
	TiesTags   bool        `json:",omitempty"` // refuses a reference tag that is not the block's address, with protection type 1
	Fragile    bool        `json:",omitempty"` // crashes when it is reset amid commands with metadata, as QEMU 7.2 does
	CutsMeta   bool        `json:",omitempty"` // loses metadata of a transfer with more than 512 bytes of it, unless it is one piece and a multiple of them, as QEMU 7.2 does
	Namespaces []Namespace `json:",omitempty"`
}

// Namespace is one of its namespaces; identifiers count from 1 in the order of the list.
type Namespace struct {
	LBA      int  `json:",omitempty"` // data bytes of a block
	MS       int  `json:",omitempty"` // metadata bytes of a block
	PI       int  `json:",omitempty"` // protection type
	Extended bool `json:",omitempty"` // metadata lies behind each block, not in a buffer of its own
	Zoned    bool `json:",omitempty"`
	Detached bool `json:",omitempty"` // at first
	MiB      int  `json:",omitempty"` // of storage, data and metadata together
}
