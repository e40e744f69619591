package crashsim

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/crashbdev"
	"github.com/blobkv/blobkv/blobfs"
	"github.com/blobkv/blobkv/blobstore"
)

// thoroughness says what besides one recovery a cut is put through.
type thoroughness struct {
	again int // the power goes during recovery up to so many times first
	oneIn int // one cut in so many is examined before recovery too, and is cut again when it is in use
}

// verifier recovers what a cut left and judges it.
type verifier struct {
	rng    *rand.Rand
	deep   thoroughness
	counts *counts
}

// verify judges a cut. It returns the disk as recovery, the use of it and a clean close have left it, and what it holds.
func (v *verifier) verify(c *cut, o crashbdev.Options) (*crashbdev.Image, tree, error) {
	image, err := v.dieRecovering(c, o)
	if err != nil {
		return nil, nil, err
	}
	thorough := v.rng.IntN(v.deep.oneIn) == 0
	o.SyncOps, o.CompletionSeed = allOps, 0
	disk := crashbdev.FromImage(image, o)
	var left tree
	err = onDisk(disk, func(dev *bdev.Device) error {
		if thorough {
			// A torn superblock is worth a warning until recovery has written it again.
			if err := sound(dev, blobstore.SeverityError); err != nil {
				return fmt.Errorf("before recovery: %w", err)
			}
		}
		err := mounted(dev, func(fs *blobfs.FS) error {
			if left, err = v.recovered(fs, c); err != nil {
				return err
			}
			used, err := v.use(fs)
			if err != nil {
				return err
			}
			if thorough && used {
				if err := v.lives(disk, o); err != nil {
					return err
				}
			}
			return remove(fs, probe)
		})
		if err != nil {
			return err
		}
		return sound(dev, blobstore.SeverityWarning)
	})
	v.counts.cuts.Add(1)
	return disk.Snapshot(), left, err
}

// dieRecovering cuts the power while the file system is mounted, some times.
func (v *verifier) dieRecovering(c *cut, o crashbdev.Options) (*crashbdev.Image, error) {
	image := c.image
	for range v.rng.IntN(v.deep.again + 1) {
		disk := crashbdev.FromImage(image, o)
		after := 1 + v.rng.Int64N(16)
		disk.CutAfter(after)
		err := onDisk(disk, func(dev *bdev.Device) error { return mounted(dev, nothing) })
		if err != nil && !disk.PoweredOff() {
			return nil, fmt.Errorf("recovery: %w", err)
		}
		f := anyFate(disk.Unflushed(), v.rng)
		c.where += fmt.Sprintf("; again at operation %d of recovery: %s", after, f.name)
		image = f.cut(disk).Snapshot()
		v.counts.recoveries.Add(1)
	}
	return image, nil
}

func nothing(*blobfs.FS) error { return nil }

// recovered judges a file system that recovery has brought back.
func (v *verifier) recovered(fs *blobfs.FS, c *cut) (tree, error) {
	if err := fs.Damage(); err != nil {
		return nil, fmt.Errorf("recovery left damage: %w", err)
	}
	left, err := readTree(fs)
	if err != nil {
		return nil, fmt.Errorf("reading what is left: %w", err)
	}
	for i := range c.parts {
		p := &c.parts[i]
		if err := p.model.judge(left.below(p.prefix)); err != nil {
			return nil, err
		}
	}
	return left, spaceAdds(fs, left)
}

// spaceAdds demands that every cluster is free, or holds bytes of a file, the journal or the metadata region.
func spaceAdds(fs *blobfs.FS, left tree) error {
	i := fs.Store().Info()
	used := i.MetadataClusters + i.JournalSize/int64(i.ClusterSize)
	counted := map[blobstore.BlobID]bool{}
	for _, e := range left {
		if !counted[e.blob] {
			counted[e.blob] = true
			used += (int64(len(e.content)) + int64(i.ClusterSize) - 1) / int64(i.ClusterSize)
		}
	}
	if i.FreeClusters+used != i.Clusters {
		return fmt.Errorf("of %d clusters %d are used and %d are free", i.Clusters, used, i.FreeClusters)
	}
	return nil
}

// probe is a file that is made and removed to see whether that works.
const probe = "/probe"

// use demands that what came back can be written, synced and read. A full disk may say so: then it was not used.
func (v *verifier) use(fs *blobfs.FS) (used bool, err error) {
	content := data(1+v.rng.IntN(6000), v.rng.Uint64())
	full := isFull(fs)
	err = writeFile(fs, probe, content)
	if full && errors.Is(err, blobfs.ErrNoSpace) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("writing after recovery: %w", err)
	}
	got, err := readAll(fs, probe)
	if err == nil && !bytes.Equal(got, content) {
		err = errors.New("what was written after recovery reads differently")
	}
	return true, err
}

// isFull reports whether there is no cluster, or hardly a metadata page, for another file.
func isFull(fs *blobfs.FS) bool {
	i := fs.Store().Info()
	return i.FreeClusters == 0 || i.MDPages-i.UsedMDPages < 2
}

// lives loses the power after the probe was synced, and demands that it is there.
func (v *verifier) lives(disk *crashbdev.Disk, o crashbdev.Options) error {
	after := crashbdev.FromImage(disk.Cut(crashbdev.LoseAll, 0).Snapshot(), o)
	return onDisk(after, func(dev *bdev.Device) error {
		return mounted(dev, func(fs *blobfs.FS) error {
			if _, err := fs.Stat(probe); err != nil {
				return fmt.Errorf("synced after recovery, lost by another cut: %w", err)
			}
			return nil
		})
	})
}

func writeFile(fs *blobfs.FS, name string, content []byte) error {
	f, err := fs.Create(name)
	if err != nil {
		return err
	}
	if _, err := f.Write(content); err != nil {
		return errors.Join(err, f.Close())
	}
	return errors.Join(f.Sync(), f.Close())
}

// remove removes a file that may not exist.
func remove(fs *blobfs.FS, name string) error {
	if err := fs.Remove(name); !errors.Is(err, blobfs.ErrNotExist) {
		return err
	}
	return nil
}

// sound demands that blobfs.Check finds nothing as bad as worst.
func sound(dev *bdev.Device, worst blobstore.Severity) error {
	report, err := blobfs.Check(dev, blobstore.CheckOptions{})
	if err != nil {
		return err
	}
	for _, f := range report.Findings {
		if f.Severity >= worst {
			err = errors.Join(err, fmt.Errorf("check: %v: blob %v: %w", f.Severity, f.Blob, f.Err))
		}
	}
	return err
}
