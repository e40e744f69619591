package blobstore

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/blobkv/blobkv/bdev"
)

// probeSize is how much of each end of a device must be zero for it to count as empty, in bytes.
const probeSize = int64(1 << 20)

// mayFormat is the error that keeps Format from a device, nil if it is empty, was made just now or holds an intact store
// of the same type of ours.
func mayFormat(dev *bdev.Device, bstype string) error {
	if dev.Fresh() {
		return nil
	}
	what, err := probe(dev)
	if err != nil {
		return err
	}
	if what == "" {
		return nil
	}
	if ownStore(dev, bstype) {
		return nil
	}
	return fmt.Errorf("%s: %w: %s", dev.Name(), ErrOccupied, what)
}

// ownStore reports whether the device holds an intact store that has our journal and the same type.
func ownStore(dev *bdev.Device, bstype string) bool {
	super, err := readSuper(dev, legalStates)
	if err != nil || super.typeName() != bstype {
		return false
	}
	_, _, err = findJournal(dev, &super)
	return err == nil
}

// probe says in a few words what a device holds, "" for nothing: its first and last MiB are zero, or all it holds is what
// an interrupted Format left. It only reads.
func probe(dev *bdev.Device) (string, error) {
	n := min(probeSize, dev.Size())
	head, tail := make([]byte, n), make([]byte, n)
	if err := doRetry(dev, bdev.OpRead, head, 0, 0); err != nil {
		return "", fmt.Errorf("%s: probing the first %d bytes: %w", dev.Name(), n, err)
	}
	if err := doRetry(dev, bdev.OpRead, tail, dev.Size()-n, 0); err != nil {
		return "", fmt.Errorf("%s: probing the last %d bytes: %w", dev.Name(), n, err)
	}
	if allZero(head) && allZero(tail) {
		return "", nil
	}
	if isFormatMark(head) { // some formats leave the first sector alone: what was made over the mark counts
		return probeForeign(head, nil), nil
	}
	if what := probeBlobstore(dev, head); what != "" {
		return what, nil
	}
	if what := probeForeign(head, tail); what != "" {
		return what, nil
	}
	return "data of an unknown kind (its first and last MiB are not zero)", nil
}

// probeBlobstore names a blobstore, intact or not.
func probeBlobstore(dev *bdev.Device, head []byte) string {
	super, err := readSuper(dev, legalStates)
	if err != nil {
		if len(head) >= superSize && bytes.HasPrefix(head, []byte(superSignature)) {
			return fmt.Sprintf("a damaged blobstore (%v)", err)
		}
		return ""
	}
	kind := "a blobstore"
	if super.typeName() == "LVOLSTORE" {
		kind = "an SPDK lvolstore"
	}
	if t := super.typeName(); t != "" {
		kind += fmt.Sprintf(" of type %q", t)
	}
	return kind
}

// magic is what identifies a format.
type magic struct {
	what   string
	offset int
	bytes  string
}

// foreign are formats found at the start of a device. The first match names it.
var foreign = []magic{
	{"a LUKS volume", 0, "LUKS\xba\xbe"},
	{"an LVM physical volume", 512, "LABELONE"},
	{"an LVM physical volume", 0, "LABELONE"},
	{"an LVM physical volume", 1024, "LABELONE"},
	{"an LVM physical volume", 1536, "LABELONE"},
	{"an xfs file system", 0, "XFSB"},
	{"a btrfs file system", 0x10040, "_BHRfS_M"},
	{"an f2fs file system", 1024, "\x10\x20\xf5\xf2"},
	{"a bcachefs or bcache device", 4096 + 24, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"},
	{"a swap area", 4086, "SWAPSPACE2"},
	{"a swap area", 4086, "SWAP-SPACE"},
	{"a squashfs file system", 0, "hsqs"},
	{"an NTFS file system", 3, "NTFS    "},
	{"an exFAT file system", 3, "EXFAT   "},
	{"a FAT file system", 54, "FAT1"},
	{"a FAT file system", 82, "FAT32"},
	{"an ISO 9660 file system", 0x8001, "CD001"},
	{"a Linux RAID member", 4096, "\xfc\x4e\x2b\xa9"},
	{"a Linux RAID member", 0, "\xfc\x4e\x2b\xa9"},
	{"a GPT partition table", 512, "EFI PART"},
	{"a GPT partition table", 4096, "EFI PART"},
}

// probeForeign names what is not a blobstore, "" if it does not know it.
func probeForeign(head, tail []byte) string {
	if isExt(head) {
		return "an ext2, ext3 or ext4 file system"
	}
	for _, m := range foreign {
		if end := m.offset + len(m.bytes); end <= len(head) && string(head[m.offset:end]) == m.bytes {
			return m.what
		}
	}
	switch {
	case isZFS(head):
		return "a ZFS pool member"
	case bytes.Contains(tail[max(0, len(tail)-64<<10):], []byte("EFI PART")):
		return "a GPT partition table (its second copy)"
	case len(head) >= 512 && head[510] == 0x55 && head[511] == 0xaa:
		return "an MBR partition table or boot sector"
	}
	return ""
}

func isExt(head []byte) bool {
	return len(head) >= 1024+58 && binary.LittleEndian.Uint16(head[1024+56:]) == 0xef53
}

// isZFS looks for an uberblock in the first label.
func isZFS(head []byte) bool {
	const uberblocks, step, magic = 128 << 10, 1 << 10, 0x00bab10c
	for off := uberblocks; off+8 <= len(head) && off < 256<<10; off += step {
		if binary.LittleEndian.Uint64(head[off:]) == magic || binary.BigEndian.Uint64(head[off:]) == magic {
			return true
		}
	}
	return false
}

// allZero reports whether b holds nothing but zeros.
func allZero(b []byte) bool {
	for len(b) > 0 {
		n := min(len(b), pageSize)
		if !bytes.Equal(b[:n], zeroPage[:n]) {
			return false
		}
		b = b[n:]
	}
	return true
}
