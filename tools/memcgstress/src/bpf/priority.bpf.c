// SPDX-License-Identifier: GPL-2.0
#include "policies/priority.bpf.c"
