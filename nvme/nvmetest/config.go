package nvmetest

// Controller is what the tests know of a controller from whoever made it.
type Controller struct {
	Queues     int  // I/O queue pairs
	MDTS       int  // the largest transfer is 4 KiB << MDTS
	CMB        int  // controller memory buffer, MiB
	NoCache    bool // no volatile write cache
	TiesTags   bool // refuses a reference tag that is not the block's address, with protection type 1
	Fragile    bool // crashes when it is reset amid commands with metadata, as QEMU 7.2 does
	Namespaces []Namespace
}

// Namespace is one of its namespaces; identifiers count from 1 in the order of the list.
type Namespace struct {
	LBA      int  // data bytes of a block
	MS       int  // metadata bytes of a block
	PI       int  // protection type
	Extended bool // metadata lies behind each block, not in a buffer of its own
	Zoned    bool
	Detached bool // at first
	MiB      int  // of storage, data and metadata together
}
