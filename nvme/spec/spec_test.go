package spec

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// structure is what every laid out structure can do.
type structure interface {
	Unmarshal([]byte) error
	Marshal([]byte) error
	layout(*codec)
}

var structures = []struct {
	name string
	size int
	make func() structure
}{
	{"identify controller", IdentifySize, func() structure { return new(IdentifyController) }},
	{"identify namespace", IdentifySize, func() structure { return new(IdentifyNamespace) }},
	{"NVM controller", IdentifySize, func() structure { return new(NVMController) }},
	{"NVM namespace", IdentifySize, func() structure { return new(NVMNamespace) }},
	{"zoned controller", IdentifySize, func() structure { return new(ZonedController) }},
	{"zoned namespace", IdentifySize, func() structure { return new(ZonedNamespace) }},
	{"zone", ZoneDescriptorSize, func() structure { return new(Zone) }},
	{"error entry", ErrorEntrySize, func() structure { return new(ErrorEntry) }},
	{"SMART", SMARTSize, func() structure { return new(SMART) }},
	{"firmware slots", FirmwareSize, func() structure { return new(FirmwareSlots) }},
	{"effects", EffectsSize, func() structure { return new(Effects) }},
	{"sanitize status", SanitizeSize, func() structure { return new(SanitizeStatus) }},
}

// TestFieldsDoNotOverlap finds a field whose offset is wrong enough to touch another one.
func TestFieldsDoNotOverlap(t *testing.T) {
	for _, s := range structures {
		taken := make([]bool, s.size)
		s.make().layout(&codec{b: make([]byte, s.size), visited: func(offset, size int) {
			for i := offset; i < offset+size; i++ {
				require.False(t, taken[i], "%s: two fields at byte %d", s.name, i)
				taken[i] = true
			}
		}})
	}
}

// TestRoundTrip: what was read is written the same way, and what no field covers is written as zero.
func TestRoundTrip(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	for _, s := range structures {
		in, out := make([]byte, s.size), make([]byte, s.size)
		for i := range in {
			in[i] = byte(rng.Uint32())
		}
		v := s.make()
		require.NoError(t, v.Unmarshal(in), s.name)
		require.NoError(t, v.Marshal(out), s.name)
		again := s.make()
		require.NoError(t, again.Unmarshal(out), s.name)
		require.Equal(t, v, again, s.name)
		require.ErrorIs(t, v.Unmarshal(in[1:]), ErrShort, s.name)
		require.ErrorIs(t, v.Marshal(out[1:]), ErrShort, s.name)
	}
}

// TestOffsets pins fields to bytes of the specification's figures, independently of the layouts.
func TestOffsets(t *testing.T) {
	b := make([]byte, IdentifySize)
	b[77], b[78], b[79], b[256], b[257], b[516], b[520], b[525], b[532], b[536] = 5, 1, 2, 0xFF, 1, 9, 4, 1, 7, 2
	copy(b[4:], "SERIAL              MODEL\x01")
	var c IdentifyController
	require.NoError(t, c.Unmarshal(b))
	require.EqualValues(t, 5, c.MDTS)
	require.EqualValues(t, 0x201, c.CNTLID)
	require.NotZero(t, c.OACS&OACSDBBUF)
	require.EqualValues(t, 9, c.NN)
	require.EqualValues(t, ONCSDSM, c.ONCS)
	require.EqualValues(t, 1, c.VWC)
	require.EqualValues(t, 7, c.ACWU)
	require.EqualValues(t, SGLSDword, c.SGLS)
	require.Equal(t, "SERIAL", c.Serial())
	require.Equal(t, "MODEL.", c.Model())

	clear(b)
	b[0], b[26], b[29], b[46], b[74], b[80], b[128+4*2+2], b[128+4*2] = 1, 2, 3|8, 8, 16, 3, 12, 64
	var n IdentifyNamespace
	require.NoError(t, n.Unmarshal(b))
	require.EqualValues(t, 1, n.NSZE)
	require.Equal(t, LBAFormat{MS: 64, LBADS: 12}, n.LBAF[n.Format()])
	require.EqualValues(t, 3, n.DPS&DPSTypeMask)
	require.EqualValues(t, 8, n.NOIOB)
	require.EqualValues(t, 16, n.MSSRL)
	require.EqualValues(t, 3, n.MSRC)
	n.NLBAF, n.FLBAS = 20, 2|1<<5|1<<4
	require.Equal(t, 18, n.Format())
	require.True(t, n.Extended())
}

func TestRegisters(t *testing.T) {
	want := Capabilities{MQES: 0x7FF, CQR: true, TO: 40, DSTRD: 2, NSSRS: true, CSS: CSSNVM | CSSIOCS, MPSMIN: 1, MPSMAX: 4, CMBS: true}
	r := want.CAP()
	require.Equal(t, want, Capabilities{r.MQES(), r.CQR(), r.TO(), r.DSTRD(), r.NSSRS(), r.CSS(), r.MPSMIN(), r.MPSMAX(), r.CMBS()})
	cc := MakeCC(CCCSSAll, 3)
	require.True(t, cc.EN())
	require.EqualValues(t, []uint8{6, 3, 6, 4, 0}, []uint8{cc.CSS(), cc.MPS(), cc.IOSQES(), cc.IOCQES(), cc.SHN()})
	require.EqualValues(t, SHNAbrupt, cc.WithSHN(SHNNormal).WithSHN(SHNAbrupt).SHN())
	sq, cq := AQASizes(AQA(4096, 2))
	require.Equal(t, []uint16{4096, 2}, []uint16{sq, cq})
	require.EqualValues(t, 0x1000+3*8, CompletionDoorbell(1, 1))
	require.EqualValues(t, 0x1000+4*4, SubmissionDoorbell(2, 0))
	require.True(t, CSTS(AllOnes).Gone())
	require.Equal(t, "1.4.0", Version(1, 4, 0).String())
	require.True(t, Version(2, 0, 0).AtLeast(1, 4))
	granted, _ := GrantedQueues(QueueCounts(7, 9))
	require.EqualValues(t, 7, granted)
}

func TestStatus(t *testing.T) {
	s := StatusCompareFailure | StatusDNR | 2<<11
	require.True(t, s.DNR())
	require.EqualValues(t, 2, s.CRD())
	require.Equal(t, StatusCompareFailure, s.Code())
	require.Equal(t, "compare failure (2/85, do not retry)", s.String())
	require.Equal(t, "vendor specific status (7/01)", Status(0x701).String())
	require.False(t, s.OK())
	require.True(t, StatusDNR.OK(), "flags alone are no error")
}

// TestGuard checks the CRC with the catalogued value of CRC-16/T10-DIF, and the fast path against the slow one.
func TestGuard(t *testing.T) {
	require.EqualValues(t, 0xD0DB, CRC16(0, []byte("123456789")))
	b := bytes.Repeat([]byte("block of data "), 40)
	want := uint16(0)
	for i := range b {
		want = CRC16(want, b[i:i+1])
	}
	require.Equal(t, want, CRC16(0, b))
	require.Equal(t, want, CRC16(CRC16(0, b[:13]), b[13:]))
}

func TestDescriptors(t *testing.T) {
	b := make([]byte, IdentifySize)
	want := Descriptors{UUID: [16]byte{1, 2, 3}, EUI64: [8]byte{9}, CSI: CSIZoned}
	require.NoError(t, want.Marshal(b))
	var got Descriptors
	require.NoError(t, got.Unmarshal(b))
	require.Equal(t, want, got)
	b[1] = 200
	require.ErrorIs(t, got.Unmarshal(b), ErrMalformed)
	require.NoError(t, PutActiveList(b, []uint32{1, 7, 9}))
	ids, err := ActiveList(b)
	require.NoError(t, err)
	require.Equal(t, []uint32{1, 7, 9}, ids)
	require.NoError(t, PutActiveList(b, []uint32{7, 7}))
	_, err = ActiveList(b)
	require.ErrorIs(t, err, ErrMalformed)
}

// FuzzStructures: no bytes make a decoder panic, and what was decoded survives encoding.
func FuzzStructures(f *testing.F) {
	f.Add(bytes.Repeat([]byte{0xFF}, IdentifySize))
	f.Add(make([]byte, IdentifySize))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, s := range structures {
			v, again := s.make(), s.make()
			if v.Unmarshal(b) != nil {
				require.Less(t, len(b), s.size)
				continue
			}
			out := make([]byte, s.size)
			require.NoError(t, v.Marshal(out))
			require.NoError(t, again.Unmarshal(out))
			require.Equal(t, v, again)
		}
		var d Descriptors
		if d.Unmarshal(b) == nil {
			out := make([]byte, IdentifySize)
			require.NoError(t, d.Marshal(out))
			var e Descriptors
			require.NoError(t, e.Unmarshal(out))
			require.Equal(t, d, e)
		}
		_, _ = ActiveList(b)
	})
}

// FuzzEntries: queue entries and what they point to survive both directions bit for bit.
func FuzzEntries(f *testing.F) {
	f.Add(bytes.Repeat([]byte{0xA5}, CommandSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < CommandSize {
			return
		}
		out := make([]byte, CommandSize)
		var c Command
		c.Get(b)
		c.Put(out)
		require.Equal(t, b[:CommandSize], out)
		var p Completion
		p.Get(b)
		p.Put(out)
		require.Equal(t, b[:CompletionSize], out[:CompletionSize])
		var r DSMRange
		r.Get(b)
		r.Put(out)
		require.Equal(t, b[:DSMRangeSize], out[:DSMRangeSize])
		var pi PI
		pi.Get(b)
		pi.Put(out)
		require.Equal(t, b[:PISize], out[:PISize])
		var k, again CopyRange
		k.Get(b)
		k.Put(out)
		again.Get(out)
		require.Equal(t, k, again)
		var g, same SGL
		g.Get(b)
		g.Put(out)
		same.Get(out)
		require.Equal(t, g, same)
	})
}
