package qemu

import "github.com/blobkv/blobkv/nvme/nvmetest"

type ns = nvmetest.Namespace

// boots is the matrix. Every value of every property (LBA size, metadata and protection, its place, MDTS, queue pairs, CMB,
// write cache, kinds of namespaces) meets every value of the others in one boot of the choice where QEMU has the
// combination; a controller has several namespaces, so few boots have many pairs. The rest of the combinations are full.
func boots() []boot {
	list := []boot{
		{name: "transport", machine: plain(), tests: "^Test(Bind|Transport|HugePages|Kill|Unprivileged|Unreachable)"},
		{name: "device_del", machine: plain(), tests: "^TestDeviceDel$"},
		{name: "surprise", machine: plain(), tests: "^TestSurpriseRemoval$", full: true},
		{name: "removal", machine: plain(), tests: "^TestDriverRemoval$"},
		driver("plain", with(2, 7, ns{LBA: 512, MiB: 64}, ns{LBA: 4096, MiB: 64})),
		driver("one-queue", with(1, 1, ns{LBA: 4096, MS: 8, PI: 1, MiB: 64}, ns{LBA: 512, MS: 16, PI: 3, Extended: true, MiB: 64}).noCache()),
		driver("many-queues", with(64, 3, ns{LBA: 512, MS: 8, PI: 3, MiB: 64}, ns{LBA: 4096, MS: 16, PI: 1, Extended: true, MiB: 64})),
		driver("metadata", with(2, 1, ns{LBA: 512, MS: 8, Extended: true, MiB: 64}, ns{LBA: 4096, MS: 16, MiB: 64}, ns{LBA: 512, MS: 16, PI: 1, MiB: 64})),
		driver("cmb", with(1, 7, ns{LBA: 512, MS: 8, PI: 1, Extended: true, MiB: 64}, ns{LBA: 4096, MS: 8, PI: 3, MiB: 64}).cmb(16)),
		driver("attach", with(2, 3, ns{LBA: 512, MiB: 64}, ns{LBA: 4096, MiB: 32, Detached: true}, ns{LBA: 4096, MS: 16, PI: 3, MiB: 32}).noCache()),
		cutBoot("power-cut", with(1, 7, ns{LBA: 512, MiB: 16})),
		cutBoot("power-cut-no-cache", with(2, 7, ns{LBA: 4096, MiB: 16}).noCache()),
		cutBoot("power-cut-no-flush", with(1, 7, ns{LBA: 512, MiB: 16})).unflushed(),
		driver("zoned", with(1, 3, ns{LBA: 4096, MiB: 64, Zoned: true}, ns{LBA: 512, MiB: 64})),
	}
	return append(list, combinations()...)
}

func driver(name string, m machine) boot { return boot{name: name, machine: m, tests: "^TestDriver$"} }

func (m machine) noCache() machine {
	m.NoCache = true
	return m
}

func (m machine) cmb(mib int) machine {
	m.CMB = mib
	return m
}

// combinations are all of them that a single namespace has.
func combinations() (list []boot) {
	for _, queues := range []int{1, 2, 64} {
		for _, mdts := range []int{1, 7} {
			for _, cmb := range []int{0, 16} {
				for _, noCache := range []bool{false, true} {
					m := with(queues, mdts, formats()...).cmb(cmb)
					m.NoCache = noCache
					b := driver("full", m)
					b.full = true
					list = append(list, b)
				}
			}
		}
	}
	return list
}

// formats are namespaces of every format that QEMU has protection for.
func formats() (list []ns) {
	for _, lba := range []int{512, 4096} {
		for _, meta := range []ns{{}, {MS: 8}, {MS: 16}, {MS: 8, PI: 1}, {MS: 8, PI: 3}, {MS: 16, PI: 1}, {MS: 16, PI: 3}} {
			for _, extended := range []bool{false, true} {
				if extended && meta.MS == 0 {
					continue
				}
				n := meta
				n.LBA, n.Extended, n.MiB = lba, extended, 16
				list = append(list, n)
			}
		}
	}
	return list
}
