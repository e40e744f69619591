package nvme_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/nvme"
	"github.com/blobkv/blobkv/nvme/softctrl"
	"github.com/blobkv/blobkv/nvme/spec"
)

// TestOffered: what a controller offers is used, unless an option says no, what it says makes no sense, or it refuses then.
func TestOffered(t *testing.T) {
	offers := softctrl.Config{SGL: true, Shadow: true, Queues: 64}
	sgls := func(v byte) func(cns, csi uint8, nsid uint32, page []byte) {
		return lying(spec.CNSController, 0, func(b []byte) { b[idSGLS] = v })
	}
	for _, c := range []struct {
		name        string
		cfg         softctrl.Config
		lie         func(cns, csi uint8, nsid uint32, page []byte)
		o           nvme.Options
		refuse      bool // doorbell buffer config
		sgl, shadow bool
	}{
		{"nothing", softctrl.Config{}, nil, nvme.Options{}, false, false, false},
		{"both", offers, nil, nvme.Options{}, false, true, true},
		{"NoSGL", offers, nil, nvme.Options{NoSGL: true}, false, false, true},
		{"NoShadowDoorbells", offers, nil, nvme.Options{NoShadowDoorbells: true}, false, true, false},
		{"SGLs of any alignment", offers, sgls(1), nvme.Options{}, false, true, true},
		{"a reserved value of SGLS", offers, sgls(3), nvme.Options{}, false, false, true},
		{"shadow doorbells refused", offers, nil, nvme.Options{}, true, true, false},
		{"doorbells larger than a page", softctrl.Config{Shadow: true, DoorbellStride: 4}, nil, nvme.Options{Queues: 40}, false, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := &watch{}
			c.cfg.Observe, c.cfg.MangleIdentify = w.observe, c.lie
			r := newRig(t, setup{cfg: c.cfg, o: c.o, started: func(soft *softctrl.Controller) {
				if c.refuse {
					soft.Inject(softctrl.Fault{Admin: true, Opcode: spec.AdminDoorbellBuffer, Do: softctrl.FailWith, Status: spec.StatusInvalidField})
				}
			}})
			asked := len(w.takeAdmin(spec.AdminDoorbellBuffer)) > 0
			require.Equal(t, c.shadow || c.refuse, asked)
			for range 300 { // twice around the ring
				require.NoError(t, r.do(nvme.Request{Op: nvme.OpFlush, NS: r.ns}))
			}
			*w = watch{}
			b := r.buf(64*blockSize, newRand(t))
			r.write(0, b)
			require.Equal(t, b, r.read(0, r.buf(len(b), nil)))
			for _, cmd := range w.takeIO() {
				require.Equal(t, c.sgl, cmd.Flags&spec.PSDTMask == spec.PSDTSGL)
			}
			require.Zero(t, r.c.Resets())
		})
	}
}

// TestCommandSets: all command sets are chosen where the controller has many, the NVM command set where it is the only one.
func TestCommandSets(t *testing.T) {
	for version, want := range map[spec.VS]uint8{spec.Version(1, 4, 0): 0, spec.Version(2, 0, 0): 6} {
		var chosen []uint8
		h := &hooked{store: func(offset uint32, v uint64) bool {
			if offset == spec.RegCC && spec.CC(v).EN() && spec.CC(v).SHN() == 0 {
				chosen = append(chosen, spec.CC(v).CSS())
			}
			return true
		}}
		c, _, err := openHooked(t, softctrl.Config{Version: version}, h)
		require.NoError(t, err)
		require.NoError(t, c.Close())
		require.Equal(t, []uint8{want}, chosen)
	}
}

// TestRetryDelaysAnnounced: a controller that may ask for delays before commands are sent again is told that the driver heeds
// them (host behavior support, ACRE); others are told nothing.
func TestRetryDelaysAnnounced(t *testing.T) {
	for _, delay := range []byte{0, 1} {
		var told []byte
		h := &hooked{}
		cfg := softctrl.Config{MangleIdentify: lying(spec.CNSController, 0, func(b []byte) { clear(b[128:134]); b[132] = delay })}
		cfg.Observe = func(sqid uint16, cmd spec.Command) {
			if sqid == 0 && cmd.Opcode == spec.AdminSetFeatures && cmd.CDW10 == spec.FeatHostBehavior {
				told = append(told, h.Translate(cmd.PRP1, spec.HostBehaviorSize, false)...)
			}
		}
		c, _, err := openHooked(t, cfg, h)
		require.NoError(t, err)
		require.NoError(t, c.Close())
		want := make([]byte, int(delay)*spec.HostBehaviorSize)
		if delay != 0 {
			want[0] = 1
		}
		require.Equal(t, want, append([]byte{}, told...))
	}
}
