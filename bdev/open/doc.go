// Package open turns a device name into a device. It is the one place that knows every backend.
//
//	malloc:1GiB                    RAM, gone at close
//	aio:/var/lib/app/store.img     Linux AIO on an image file or block device, direct I/O
//	file:/var/lib/app/store.img    portable file I/O
//	nvme:0000:01:00.0/1            namespace 1 of an NVMe drive bound to vfio-pci, driven from this process
//	nvme:vfio-user:/path/dir?ns=1  the same of a controller that another process serves there
//	nvme-sim:1GiB                  RAM behind the NVMe driver and a software controller, gone at close
//	/var/lib/app/store.img         aio on Linux, file elsewhere
//
// Options follow a question mark: aio:/x.img?size=64GiB&policy=poll. A question mark or percent sign in a path is
// percent-encoded (%3F, %25). A one-letter scheme is a Windows drive. Sizes are read by package size: 64GiB, 512k.
//
//	size=64GiB    least size of an image: a new one gets it, a smaller one is grown to it; a block device must have it
//	block=4096    bytes of a block of an image or of RAM, 512 to 64k
//	policy=poll   how to wait: poll, adaptive (the default) or sleep
//	channels=4    shared channels, 1 to 64; chosen from the number of processors without it
//	ns=1          namespace of an NVMe controller; needed when it has several
//	queues=8      most queue pairs of an NVMe controller, 1 to 128; 16 without it
package open
