// SPDX-License-Identifier: GPL-2.0
#include "policies/largest.bpf.c"
