#include "textflag.h"

// func plainPieces(p []byte) int
//
// A byte is special if it is a quote, a backslash, at most 0x1f, or has its
// high bit set; PMOVMSKB gathers the high bits of the comparisons' results and
// of the bytes themselves.
TEXT ·plainPieces(SB), NOSPLIT, $0-32
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

// func plainBlocks(p []byte) int
//
// As above, with one comparison for control characters and high bits: as signed
// numbers both are less than a space.
TEXT ·plainBlocks(SB), NOSPLIT, $0-32
	MOVQ p_base+0(FP), SI
	MOVQ p_len+8(FP), CX
	XORQ AX, AX
	MOVQ $0x2020202020202020, DX
	MOVQ DX, X0
	VPBROADCASTQ X0, Y0
	MOVQ $0x2222222222222222, DX
	MOVQ DX, X1
	VPBROADCASTQ X1, Y1
	MOVQ $0x5c5c5c5c5c5c5c5c, DX
	MOVQ DX, X2
	VPBROADCASTQ X2, Y2

blocks:
	LEAQ 128(AX), BX
	CMPQ BX, CX
	JHI  end
	VMOVDQU (SI)(AX*1), Y3
	VMOVDQU 32(SI)(AX*1), Y4
	VMOVDQU 64(SI)(AX*1), Y5
	VMOVDQU 96(SI)(AX*1), Y6
	VPCMPGTB Y3, Y0, Y7
	VPCMPEQB Y3, Y1, Y8
	VPCMPEQB Y3, Y2, Y9
	VPCMPGTB Y4, Y0, Y10
	VPCMPEQB Y4, Y1, Y11
	VPCMPEQB Y4, Y2, Y12
	VPOR Y7, Y8, Y7
	VPOR Y9, Y10, Y9
	VPOR Y11, Y12, Y11
	VPOR Y7, Y9, Y7
	VPOR Y7, Y11, Y7
	VPCMPGTB Y5, Y0, Y8
	VPCMPEQB Y5, Y1, Y9
	VPCMPEQB Y5, Y2, Y10
	VPCMPGTB Y6, Y0, Y11
	VPCMPEQB Y6, Y1, Y12
	VPCMPEQB Y6, Y2, Y13
	VPOR Y8, Y9, Y8
	VPOR Y10, Y11, Y10
	VPOR Y12, Y13, Y12
	VPOR Y8, Y10, Y8
	VPOR Y8, Y12, Y8
	VPOR Y7, Y8, Y7
	VPTEST Y7, Y7
	JNE  end
	MOVQ BX, AX
	JMP blocks

end:
	VZEROUPPER
	MOVQ AX, ret+24(FP)
	RET
