// Package nvme drives NVMe controllers from user space: it owns the queue pairs, rings the doorbells and polls the phase
// tags. A passive library: nothing runs but what its caller calls. Terms and numbers are those of the NVM Express base
// specification 2.0 and its NVM command set specification 1.0.
package nvme
