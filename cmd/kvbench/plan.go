package main

import (
	"fmt"
	"slices"
)

// rowPlan is one row to run: a benchmark with a number of goroutines.
type rowPlan struct {
	*benchmark
	threads int
}

// title tells rows of one benchmark apart.
func (p rowPlan) title() string { return rowTitle(p.name, p.threads) }

func rowTitle(name string, threads int) string {
	if threads > 1 {
		return fmt.Sprintf("%s x%d", name, threads)
	}
	return name
}

// planRows repeats the rows that leave the data as it is, and those that start with a store of their own anyway, for
// each number of goroutines.
func planRows(rows []*benchmark, threads []int) []rowPlan {
	var plans []rowPlan
	for _, b := range rows {
		counts := threads
		if b.loads() {
			counts = threads[:1]
		}
		for _, n := range counts {
			plans = append(plans, rowPlan{b, n})
		}
	}
	return plans
}

// usableRows leaves out the rows that need a fresh store when an existing one is used, and refuses a list that starts by
// reading nothing.
func (se *session) usableRows(rows []*benchmark) ([]*benchmark, error) {
	if se.UseExistingDB {
		usable := slices.DeleteFunc(slices.Clone(rows), func(b *benchmark) bool {
			if b.fresh {
				se.notes = append(se.notes, b.name+" needs a fresh store and is skipped: --use_existing_db")
			}
			return b.fresh
		})
		if len(usable) == 0 {
			return nil, usagef("--benchmarks %s needs a fresh store, and --use_existing_db asks for the one that is there", se.Benchmarks)
		}
		return usable, nil
	}
	for _, b := range rows {
		if b.files {
			continue // needs no keys, and makes none
		}
		if !b.fresh && b.name != "overwrite" {
			return nil, usagef("--benchmarks has %s before there is data: put fillseq or fillrandom before it, or --use_existing_db", b.name)
		}
		break
	}
	return rows, nil
}
