// SPDX-License-Identifier: GPL-2.0
#define AUDITED "largest.bpf.c"
#include "policies/audit.bpf.c"
