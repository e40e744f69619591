package qemu

// storeBoots run the block device and a store on the drive.
var storeBoots = []boot{
	{name: "store", controller: plain(), tests: "^TestStoreOnDrive$|^TestDeviceConformance$/^sleep$"},
	{name: "device", controller: plain(), tests: "^TestDeviceConformance$/^adaptive$", full: true},
}
