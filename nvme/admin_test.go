package nvme_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/nvme"
	"github.com/blobkv/blobkv/nvme/softctrl"
	"github.com/blobkv/blobkv/nvme/spec"
)

func TestLogs(t *testing.T) {
	r := newRig(t, setup{})
	r.write(0, r.buf(2000*blockSize, nil))
	s, err := r.c.SMART(spec.BroadcastNSID)
	require.NoError(t, err)
	require.EqualValues(t, 300, s.Temperature)
	require.EqualValues(t, 8, s.HostWrites.Lo, "1,000 KiB in commands of 128 KiB")
	require.EqualValues(t, 2, s.DataUnitsWritten.Lo)

	entries, err := r.c.ErrorLog(100)
	require.NoError(t, err)
	before := len(entries)
	_, err = r.c.Feature(0xEE, 0, 0, nil)
	require.ErrorIs(t, err, nvme.ErrInvalid)
	entries, err = r.c.ErrorLog(100)
	require.NoError(t, err)
	require.Len(t, entries, before+1)
	require.Equal(t, spec.StatusInvalidField, entries[0].Status().Code())

	e, err := r.c.Effects()
	require.NoError(t, err)
	require.NotZero(t, e.IO[spec.CmdRead]&spec.EffectSupported)
	f, err := r.c.FirmwareSlots()
	require.NoError(t, err)
	require.Equal(t, "1.0", f.Slot(1))
	for nsid, where := range map[uint32]string{0: "", spec.BroadcastNSID: "", 1: ", namespace 1"} {
		err := r.c.LogPage(0xDD, nsid, 0, make([]byte, 512), false)
		require.ErrorIs(t, err, nvme.ErrUnsupported)
		require.ErrorContains(t, err, "get log page"+where+": invalid log page", "an admin command has no LBA")
	}
	require.ErrorIs(t, r.c.LogPage(spec.LogSMART, 0, 0, make([]byte, 511), false), nvme.ErrInvalid)
	part := make([]byte, 8)
	require.NoError(t, r.c.LogPage(spec.LogFirmware, spec.BroadcastNSID, 8, part, false))
	require.Equal(t, "1.0     ", string(part))
}

func TestFeatures(t *testing.T) {
	r := newRig(t, setup{cfg: softctrl.Config{WriteCache: true}})
	require.True(t, r.ns.Info().WriteCache)
	require.NoError(t, r.c.SetWriteCache(false))
	require.False(t, r.ns.Info().WriteCache)
	v, err := r.c.Feature(spec.FeatWriteCache, 0, spec.SelectCurrent, nil)
	require.NoError(t, err)
	require.Zero(t, v)
	_, err = r.c.SetFeature(spec.FeatTemperature, 0, 333, nil, false)
	require.NoError(t, err)
	v, err = r.c.Feature(spec.FeatTemperature, 0, spec.SelectCurrent, nil)
	require.NoError(t, err)
	require.EqualValues(t, 333, v)
	_, err = r.c.SetFeature(spec.FeatTemperature, 0, 333, nil, true)
	var status *nvme.StatusError
	require.ErrorAs(t, err, &status)
	require.Equal(t, spec.StatusFeatureNotSaveable, status.Status.Code())
	_, err = r.c.SetFeature(spec.FeatQueues, 0, 1, nil, false)
	require.ErrorIs(t, err, nvme.ErrInvalid)
	_, err = r.c.Admin(spec.Command{Opcode: spec.AdminDeleteSQ, CDW10: 1}, nil)
	require.ErrorIs(t, err, nvme.ErrInvalid, "the driver's own")
	_, err = r.c.Admin(spec.Command{Opcode: 0xC1}, nil)
	require.ErrorIs(t, err, nvme.ErrUnsupported)
	require.Equal(t, "SOFT0001", r.c.Identify().Serial())
	require.Equal(t, "2.0.0", r.c.Version().String())

	plain := newRig(t, setup{})
	require.False(t, plain.ns.Info().WriteCache)
	require.ErrorIs(t, plain.c.SetWriteCache(true), nvme.ErrUnsupported)
}

func TestFormat(t *testing.T) {
	r := newRig(t, setup{})
	r.write(0, r.buf(blockSize, newRand(t)))
	require.NoError(t, r.c.Format(1, nvme.FormatOptions{Format: 3, Protection: 1}))
	require.True(t, r.saw(nvme.EventNamespaceChanged))
	info := r.ns.Info()
	require.Equal(t, []int{4096, 8, 3}, []int{info.BlockSize, info.MetaSize, info.Format})
	require.EqualValues(t, numBlocks/8, info.Blocks)
	require.EqualValues(t, 1, info.Protection)
	b := r.buf(4096, nil)
	require.NoError(t, r.do(nvme.Request{Op: nvme.OpRead, NS: r.ns, Buf: b, PI: nvme.Protect{Flags: spec.PRACT | allChecks}}))
	require.Equal(t, 4096, bytes.Count(b, []byte{0}))
	require.ErrorIs(t, r.c.Format(1, nvme.FormatOptions{Format: 13}), nvme.ErrInvalid)
	require.ErrorIs(t, r.c.Format(1, nvme.FormatOptions{Format: 64}), nvme.ErrInvalid)

	require.NoError(t, r.c.Sanitize(spec.SanitizeBlock, 0))
	st, err := r.c.SanitizeStatus()
	require.NoError(t, err)
	require.EqualValues(t, spec.SanitizeDone, st.SSTAT&7)
}

func TestFirmwareAndSecurity(t *testing.T) {
	rng := newRand(t)
	r := newRig(t, setup{})
	image := bytes.Repeat([]byte("REV 2.0 "), 3000)
	require.NoError(t, r.c.DownloadFirmware(image))
	require.NoError(t, r.c.CommitFirmware(1, 1))
	f, err := r.c.FirmwareSlots()
	require.NoError(t, err)
	require.Equal(t, "REV 2.0", f.Slot(1))
	require.ErrorIs(t, r.c.DownloadFirmware(image[:3]), nvme.ErrInvalid)

	for _, n := range []int{4, 4096, 8192, 60000} {
		w, b := make([]byte, n), make([]byte, n)
		for i := range w {
			w[i] = byte(rng.Uint32())
		}
		require.NoError(t, r.c.SecuritySend(1, 2, 0, w))
		require.NoError(t, r.c.SecurityReceive(1, 2, 0, b))
		require.Equal(t, w, b, n)
	}
	require.ErrorIs(t, r.c.SecuritySend(1, 0, 0, make([]byte, 3<<20)), nvme.ErrInvalid)
}

func TestNamespaceManagement(t *testing.T) {
	r := newRig(t, setup{})
	id, err := r.c.CreateNamespace(1000, 2, 0)
	require.NoError(t, err)
	_, err = r.c.Namespace(id)
	require.ErrorIs(t, err, nvme.ErrNoNamespace)
	ids, err := r.c.ListNamespaces(true)
	require.NoError(t, err)
	require.Equal(t, []uint32{1, id}, ids)
	require.NoError(t, r.c.AttachNamespace(id, true))
	require.True(t, r.saw(nvme.EventNamespaceAttached))
	n, err := r.c.Namespace(id)
	require.NoError(t, err)
	require.EqualValues(t, 1000, n.Info().Blocks)
	ctrls, err := r.c.AttachedControllers(id)
	require.NoError(t, err)
	require.Equal(t, []uint16{1}, ctrls)
	require.NoError(t, r.do(nvme.Request{Op: nvme.OpWrite, NS: n, Buf: r.buf(4096, nil)}))
	require.NoError(t, r.c.AttachNamespace(id, false))
	require.True(t, r.saw(nvme.EventNamespaceDetached))
	require.ErrorIs(t, r.do(nvme.Request{Op: nvme.OpWrite, NS: n, Buf: r.buf(4096, nil)}), nvme.ErrNoNamespace)
	require.NoError(t, r.c.DeleteNamespace(id))
	_, err = r.c.CreateNamespace(1<<40, 0, 0)
	require.ErrorIs(t, err, nvme.ErrNoSpace)
	ids, err = r.c.ListNamespaces(true)
	require.NoError(t, err)
	require.Equal(t, []uint32{1}, ids)
}

// TestEvents: what happens to the namespaces behind the driver's back.
func TestEvents(t *testing.T) {
	r := newRig(t, setup{})
	expect := func(kind nvme.EventKind) {
		t.Helper()
		r.settle(kind.String(), func() bool { return r.saw(kind) })
	}
	for range 3 {
		require.NoError(t, r.soft.Resize(1, 100))
		expect(nvme.EventNamespaceChanged)
		require.EqualValues(t, 100, r.ns.Info().Blocks)
		require.ErrorIs(t, r.do(nvme.Request{Op: nvme.OpRead, NS: r.ns, LBA: 100, Buf: r.mem[:512]}), nvme.ErrOutOfRange)
		require.NoError(t, r.soft.Attach(1, false))
		expect(nvme.EventNamespaceDetached)
		require.Nil(t, r.ns.Info())
		require.NoError(t, r.soft.Attach(1, true))
		expect(nvme.EventNamespaceAttached)
		require.NoError(t, r.soft.Resize(1, numBlocks))
		expect(nvme.EventNamespaceChanged)
		r.read(numBlocks-1, r.mem[:512])
	}
	id, err := r.soft.AddNamespace(softctrl.NamespaceConfig{Storage: ram(t, 1<<20, false), BlockSize: 4096})
	require.NoError(t, err)
	expect(nvme.EventNamespaceAttached)
	_, err = r.c.Namespace(id)
	require.NoError(t, err)
	require.Len(t, r.c.Namespaces(), 2)
	require.NoError(t, r.soft.SetReadOnly(1, true))
	expect(nvme.EventNamespaceChanged)
	require.True(t, r.ns.Info().ReadOnly)
	require.ErrorIs(t, r.do(nvme.Request{Op: nvme.OpWrite, NS: r.ns, Buf: r.mem[:512]}), nvme.ErrWriteProtected)

	r.soft.Health(spec.WarnSpare)
	expect(nvme.EventHealth)
	r.soft.Health(spec.WarnSpare)
	_ = r.c.Poll()
	require.False(t, r.saw(nvme.EventHealth), "not before the log was read")
	s, err := r.c.SMART(spec.BroadcastNSID)
	require.NoError(t, err)
	require.EqualValues(t, spec.WarnSpare, s.CriticalWarning)
	r.soft.Health(0)
	expect(nvme.EventHealth)
	ids, all, err := r.c.ChangedNamespaces()
	require.NoError(t, err)
	require.False(t, all)
	require.Empty(t, ids, "the driver read it")
	require.NoError(t, r.c.Reset())
	r.soft.Health(spec.WarnReadOnly)
	expect(nvme.EventHealth)
}

// TestEventKinds: what the controller reports arrives as what it is, as it was sent, and again after its log was read.
func TestEventKinds(t *testing.T) {
	r := newRig(t, setup{})
	for _, c := range []struct {
		raw  spec.AsyncEvent
		want nvme.EventKind
	}{
		{spec.MakeAsyncEvent(spec.EventError, 3, spec.LogError), nvme.EventError},
		{spec.MakeAsyncEvent(spec.EventHealth, 1, spec.LogSMART), nvme.EventHealth},
		{spec.MakeAsyncEvent(spec.EventNotice, spec.NoticeFirmware, spec.LogFirmware), nvme.EventFirmware},
		{spec.MakeAsyncEvent(spec.EventNotice, spec.NoticeTelemetry, spec.LogEffects), nvme.EventOther},
		{spec.MakeAsyncEvent(spec.EventImmediate, 0, spec.LogSanitize), nvme.EventOther},
		{spec.MakeAsyncEvent(spec.EventVendor, 9, 0), nvme.EventOther},
	} {
		for range 2 {
			r.events = nil
			r.soft.Event(c.raw)
			r.settle(c.want.String(), func() bool { return len(r.events) > 0 })
			require.Equal(t, []nvme.Event{{Kind: c.want, Raw: c.raw}}, r.events)
			require.NoError(t, r.c.LogPage(c.raw.Log(), spec.BroadcastNSID, 0, make([]byte, 512), false))
		}
	}
}

// TestEventChoice: the driver asks for the notices that it knows, as far as the controller has them (OAES), and all warnings.
func TestEventChoice(t *testing.T) {
	for oaes, want := range map[uint32]uint32{0: 0x1F, 1 << 8: 0x11F, ^uint32(0): 0x31F} {
		w := &watch{}
		lie := lying(spec.CNSController, 0, func(b []byte) { binary.LittleEndian.PutUint32(b[92:], oaes) })
		newRig(t, setup{cfg: softctrl.Config{Observe: w.observe, MangleIdentify: lie}})
		var asked []uint32
		for _, c := range w.takeAdmin(spec.AdminSetFeatures) {
			if c.CDW10 == spec.FeatAsyncEvents {
				asked = append(asked, c.CDW11)
			}
		}
		require.Equal(t, []uint32{want}, asked)
	}
}

// TestManyChanges: more namespaces change than the log of changes holds.
func TestManyChanges(t *testing.T) {
	var s setup
	store := ram(t, 1<<16, false)
	for range spec.ActiveListEntries + 1 {
		s.cfg.Namespaces = append(s.cfg.Namespaces, softctrl.NamespaceConfig{Storage: store})
	}
	r := newRig(t, s)
	require.NoError(t, r.soft.Resize(5, 100))
	ids, all, err := r.c.ChangedNamespaces()
	require.NoError(t, err)
	require.False(t, all)
	require.Equal(t, []uint32{5}, ids)
	for id := range uint32(len(s.cfg.Namespaces)) {
		require.NoError(t, r.soft.Resize(id+1, 50))
	}
	ids, all, err = r.c.ChangedNamespaces()
	require.NoError(t, err)
	require.True(t, all)
	require.Empty(t, ids)
}

func TestKeepAlive(t *testing.T) {
	r := newRig(t, setup{o: nvme.Options{KeepAlive: 10 * abortTimeout, AdminTimeout: abortTimeout}})
	for range 200 {
		r.clock.Sleep(ioTimeout)
		require.NoError(t, r.c.Poll())
	}
	require.Zero(t, r.c.Resets())
	r.soft.Inject(softctrl.Fault{Admin: true, Opcode: spec.AdminKeepAlive, Do: softctrl.Lose})
	r.settle("no reset", func() bool { return r.saw(nvme.EventReset) })
	r.works()
}

// TestZoneAppendAcrossBoundary: an append is one command whatever the optimal boundary is, and all of it arrives.
func TestZoneAppendAcrossBoundary(t *testing.T) {
	r := newRig(t, setup{cfg: softctrl.Config{Namespaces: []softctrl.NamespaceConfig{{Storage: ram(t, 1<<20, false), ZoneBlocks: 256, Boundary: 4}}}})
	w := r.buf(9*blockSize, newRand(t))
	for i := range uint64(2) {
		req := nvme.Request{Op: nvme.OpZoneAppend, NS: r.ns, LBA: 256, Buf: w}
		require.NoError(t, r.q.Do(&req))
		require.Equal(t, 256+9*i, req.Result)
		require.Equal(t, w, r.read(req.Result, r.buf(9*blockSize, nil)))
	}
}

func TestZones(t *testing.T) {
	rng := newRand(t)
	const zone = 256
	r := newRig(t, setup{cfg: softctrl.Config{Namespaces: []softctrl.NamespaceConfig{{Storage: ram(t, 1<<20, false), ZoneBlocks: zone, MaxOpen: 2}}}})
	info := r.ns.Info()
	require.EqualValues(t, spec.CSIZoned, info.CSI)
	require.EqualValues(t, []uint64{zone, 2048, zone}, []uint64{info.ZoneBlocks, info.Blocks, info.MaxAppend})
	w := r.buf(8*blockSize, rng)
	for i := range uint64(3) {
		req := nvme.Request{Op: nvme.OpZoneAppend, NS: r.ns, LBA: zone, Buf: w}
		require.NoError(t, r.q.Do(&req))
		require.Equal(t, zone+8*i, req.Result)
	}
	require.Equal(t, w, r.read(zone+16, r.buf(8*blockSize, nil)))
	require.ErrorIs(t, r.do(nvme.Request{Op: nvme.OpWrite, NS: r.ns, LBA: zone, Buf: w}), nvme.ErrZone)
	r.write(zone+24, w)
	send := func(lba uint64, action uint32) error {
		return r.do(nvme.Request{Op: nvme.OpZoneSend, NS: r.ns, LBA: lba, Arg: action})
	}
	require.NoError(t, send(0, spec.ZoneOpen))
	require.NoError(t, send(2*zone, spec.ZoneOpen), "the implicitly open zone is closed for it")
	require.ErrorIs(t, send(3*zone, spec.ZoneOpen), nvme.ErrZone)
	require.NoError(t, send(2*zone, spec.ZoneFinish))
	require.ErrorIs(t, r.do(nvme.Request{Op: nvme.OpZoneAppend, NS: r.ns, LBA: 2 * zone, Buf: w}), nvme.ErrZone)
	b := r.buf(4096, nil)
	require.NoError(t, r.do(nvme.Request{Op: nvme.OpZoneReceive, NS: r.ns, LBA: zone, Arg: spec.ZoneReport, Buf: b}))
	n, err := spec.ZoneReportCount(b)
	require.NoError(t, err)
	require.EqualValues(t, 7, n)
	var z spec.Zone
	require.NoError(t, z.Unmarshal(b[spec.ZoneHeaderSize:]))
	require.Equal(t, spec.Zone{Type: 2, State: spec.ZoneClosed, Capacity: zone, Start: zone, WritePointer: zone + 32}, z)
	require.NoError(t, send(0, spec.ZoneReset|spec.ZoneSelectAll))
	require.NoError(t, r.do(nvme.Request{Op: nvme.OpZoneReceive, NS: r.ns, LBA: zone, Arg: spec.ZoneReport, Buf: b}))
	require.NoError(t, z.Unmarshal(b[spec.ZoneHeaderSize:]))
	require.Equal(t, spec.ZoneEmpty, z.State)
	require.True(t, r.zeros(zone, 32))
}
