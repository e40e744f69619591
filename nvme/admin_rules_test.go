package nvme_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/nvme"
	"github.com/blobkv/blobkv/nvme/softctrl"
	"github.com/blobkv/blobkv/nvme/spec"
)

// TestPassthroughRefuses: what the driver lives by does not get through, by either method; the rest does.
func TestPassthroughRefuses(t *testing.T) {
	r := newRig(t, setup{})
	for _, cmd := range []spec.Command{
		{Opcode: spec.AdminCreateCQ}, {Opcode: spec.AdminCreateSQ}, {Opcode: spec.AdminDeleteSQ, CDW10: 1}, {Opcode: spec.AdminDeleteCQ, CDW10: 1},
		{Opcode: spec.AdminAsyncEvent}, {Opcode: spec.AdminDoorbellBuffer},
		{Opcode: spec.AdminSetFeatures, CDW10: spec.FeatQueues}, {Opcode: spec.AdminSetFeatures, CDW10: spec.FeatAsyncEvents | spec.Save},
		{Opcode: spec.AdminSetFeatures, CDW10: spec.FeatKeepAlive},
	} {
		_, err := r.c.Admin(cmd, nil)
		require.ErrorIs(t, err, nvme.ErrInvalid, cmd)
		require.ErrorContains(t, err, "the driver's own", cmd)
		if cmd.Opcode == spec.AdminSetFeatures {
			_, err = r.c.SetFeature(uint8(cmd.CDW10), 0, 0, nil, false)
			require.ErrorContains(t, err, "the driver's own", cmd)
		}
	}
	_, err := r.c.Admin(spec.Command{Opcode: spec.AdminSetFeatures, CDW10: spec.FeatTemperature, CDW11: 300}, nil)
	require.NoError(t, err)
	v, err := r.c.Admin(spec.Command{Opcode: spec.AdminGetFeatures, CDW10: spec.FeatTemperature}, nil)
	require.NoError(t, err)
	require.EqualValues(t, 300, v)
	require.Zero(t, r.c.Resets())
	r.works()
}

// TestPassthroughChanges: what a command changed the driver knows when Admin returns, however long it took.
func TestPassthroughChanges(t *testing.T) {
	r := newRig(t, setup{cfg: softctrl.Config{WriteCache: true}, o: nvme.Options{AdminTimeout: time.Second}})
	for _, opcode := range []int{spec.AdminFormat, spec.AdminNSManagement, spec.AdminNSAttachment} {
		r.soft.Inject(softctrl.Fault{Admin: true, Opcode: opcode, Do: softctrl.Slow, Delay: time.Minute})
	}
	_, err := r.c.Admin(spec.Command{Opcode: spec.AdminFormat, NSID: 1, CDW10: spec.FormatCDW10(3, false, 1, false, 0)}, nil)
	require.NoError(t, err)
	require.Equal(t, 4096, r.ns.Info().BlockSize)

	page := make([]byte, spec.IdentifySize)
	require.NoError(t, (&spec.IdentifyNamespace{NSZE: 100, NCAP: 100}).Marshal(page))
	id, err := r.c.Admin(spec.Command{Opcode: spec.AdminNSManagement}, page)
	require.NoError(t, err)
	clear(page)
	page[0], page[2] = 1, byte(r.c.Identify().CNTLID)
	_, err = r.c.Admin(spec.Command{Opcode: spec.AdminNSAttachment, NSID: id}, page)
	require.NoError(t, err)
	_, err = r.c.Namespace(id)
	require.NoError(t, err)
	_, err = r.c.Admin(spec.Command{Opcode: spec.AdminNSManagement, NSID: id, CDW10: 1}, nil)
	require.NoError(t, err)
	_, err = r.c.Namespace(id)
	require.ErrorIs(t, err, nvme.ErrNoNamespace)

	for _, on := range []bool{false, true} {
		value := map[bool]uint32{true: 1}[on]
		_, err = r.c.SetFeature(spec.FeatWriteCache, 0, value, nil, false)
		require.NoError(t, err)
		require.Equal(t, on, r.ns.Info().WriteCache, "whoever flushes goes by it")
	}
	require.Zero(t, r.c.Resets())
}

// TestQuickCommandsAreQuick: a controller that does not answer them is found out by AdminTimeout, not by LongTimeout.
func TestQuickCommandsAreQuick(t *testing.T) {
	r := faultRig(t, setup{})
	for _, c := range []struct {
		opcode int
		call   func() error
	}{
		{spec.AdminGetFeatures, func() error { _, err := r.c.Feature(spec.FeatTemperature, 0, 0, nil); return err }},
		{spec.AdminSetFeatures, func() error { _, err := r.c.SetFeature(spec.FeatTemperature, 0, 300, nil, false); return err }},
		{spec.AdminSecurityReceive, func() error { return r.c.SecurityReceive(1, 0, 0, make([]byte, 512)) }},
	} {
		r.soft.Inject(softctrl.Fault{Admin: true, Opcode: c.opcode, Do: softctrl.Lose})
		r.within(time.Second+readyTimeout, func() { require.ErrorIs(t, c.call(), nvme.ErrReset) })
		r.works() // the reset is over
	}
}
