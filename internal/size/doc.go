// Package size reads and prints byte counts as people write them: 4k, 512MiB, 1.5GiB, 10GB.
//
// A letter alone and the IEC form are binary (k = K = KiB = 1024 bytes, M = MiB, G = GiB, T = TiB, P = PiB), as fio
// and dd read them. The form with a capital B and no i is decimal (kB = KB = 1000 bytes, MB, GB, TB, PB), as disk
// vendors write it. A number alone, or with B, counts bytes. Case matters nowhere.
package size
