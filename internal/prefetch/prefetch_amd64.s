#include "textflag.h"

// func twoLines(p unsafe.Pointer)
TEXT ·twoLines(SB), NOSPLIT, $0-8
	MOVQ p+0(FP), AX
	PREFETCHT0 (AX)
	PREFETCHT0 64(AX)
	RET
