#include "textflag.h"

// func plainPrefix(p []byte) int
//
// A byte is special if it is a quote, a backslash, at most 0x1f, or has its
// high bit set; PMOVMSKB gathers the high bits of the comparisons' results and
// of the bytes themselves.
TEXT ·plainPrefix(SB), NOSPLIT, $0-32
	MOVQ p_base+0(FP), SI
	MOVQ p_len+8(FP), CX
	XORQ AX, AX
	MOVQ $0x2222222222222222, DX
	MOVQ DX, X1
	PUNPCKLQDQ X1, X1
	MOVQ $0x5c5c5c5c5c5c5c5c, DX
	MOVQ DX, X2
	PUNPCKLQDQ X2, X2
	MOVQ $0x1f1f1f1f1f1f1f1f, DX
	MOVQ DX, X3
	PUNPCKLQDQ X3, X3

loop:
	LEAQ 32(AX), BX
	CMPQ BX, CX
	JHI  done
	MOVOU (SI)(AX*1), X4
	MOVOU 16(SI)(AX*1), X8
	MOVO X4, X5
	MOVO X4, X6
	MOVO X4, X7
	PCMPEQB X1, X5
	PCMPEQB X2, X6
	PMINUB X3, X7
	PCMPEQB X4, X7
	POR X5, X6
	POR X6, X7
	POR X4, X7
	MOVO X8, X9
	MOVO X8, X10
	MOVO X8, X11
	PCMPEQB X1, X9
	PCMPEQB X2, X10
	PMINUB X3, X11
	PCMPEQB X8, X11
	POR X9, X10
	POR X10, X11
	POR X8, X11
	PMOVMSKB X7, DX
	PMOVMSKB X11, R8
	SHLL $16, R8
	ORL R8, DX
	JNE found
	MOVQ BX, AX
	JMP loop

found:
	BSFL DX, DX
	ADDQ DX, AX

done:
	MOVQ AX, ret+24(FP)
	RET
