package qemu

import (
	"fmt"

	"github.com/blobkv/blobkv/nvme/nvmetest"
)

type ns = nvmetest.Namespace

// boots is the matrix. Thirteen of them are the choice that runs in every change: each value of LBA size, metadata,
// protection type and place, MDTS, queue pairs, CMB and write cache is in at least one of them, beside several of the others,
// since a controller has several namespaces. The rest, marked full, are all combinations.
func boots() []boot {
	list := []boot{
		{name: "transport", machine: plain(), tests: "^Test(Bind|Transport|HugePages|Kill|Unprivileged|Unreachable)"},
		{name: "device_del", machine: plain(), tests: "^TestDeviceDel$", full: true},
		{name: "surprise", machine: plain(), tests: "^TestSurpriseRemoval$", full: true},
		{name: "removal", machine: plain(), tests: "^TestDriverRemoval$"},
		{name: "store", machine: plain(), tests: "^TestStoreOnDrive$|^TestDeviceConformance$/^sleep$"},
		{name: "commands", machine: with(2, 5, ns{LBA: 4096, MiB: 256}), tests: "^TestStoreKill$|^TestCommands$", tools: true},
		{name: "device", machine: plain(), tests: "^TestDeviceConformance$/^adaptive$", full: true},
		driver("plain", with(2, 7, ns{LBA: 512, MiB: 64}, ns{LBA: 4096, MiB: 64})).inFull(),
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

func (b boot) inFull() boot {
	b.full = true
	return b
}

func (m machine) noCache() machine {
	m.NoCache = true
	return m
}

func (m machine) cmb(mib int) machine {
	m.CMB = mib
	return m
}

// combinations are all of them, a controller having a namespace of every format of one LBA size.
func combinations() (list []boot) {
	for _, lba := range []int{512, 4096} {
		for _, queues := range []int{1, 2, 64} {
			for _, mdts := range []int{1, 7} {
				for _, cmb := range []int{0, 16} {
					for _, noCache := range []bool{false, true} {
						m := with(queues, mdts, formats(lba)...).cmb(cmb)
						m.NoCache = noCache
						name := fmt.Sprintf("lba-%d-queues-%d-mdts-%d-cmb-%d-nocache-%v", lba, queues, mdts, cmb, noCache)
						list = append(list, driver(name, m).inFull())
					}
				}
			}
		}
	}
	return list
}

// formats are namespaces of every format with metadata and protection.
func formats(lba int) (list []ns) {
	for _, n := range []ns{{}, {MS: 8}, {MS: 16}, {MS: 8, PI: 1}, {MS: 8, PI: 3}, {MS: 16, PI: 1}, {MS: 16, PI: 3}} {
		n.LBA, n.MiB = lba, 16
		list = append(list, n)
		if n.Extended = n.MS > 0; n.Extended {
			list = append(list, n)
		}
	}
	return list
}
