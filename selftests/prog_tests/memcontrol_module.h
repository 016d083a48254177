/* SPDX-License-Identifier: GPL-2.0 */
/* For the tests that load and unload the module. */
#ifndef __MEMCONTROL_MODULE_H
#define __MEMCONTROL_MODULE_H

#include "memcontrol_helpers.h"
#include "testing_helpers.h"

#define NO_MODULE_PATH	"RUST_BPF_MEMCONTROL_KO does not name the module"

/* The path of the module, from the environment; NULL when it is not set. */
static inline const char *module_path(void)
{
	return getenv("RUST_BPF_MEMCONTROL_KO");
}

/* This and the next two return 0 or a negative error. */
static inline int module_load(void)
{
	int fd, err;

	fd = open(module_path(), O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	err = finit_module(fd, "", 0) ? -errno : 0;
	close(fd);
	return err;
}

static inline int module_unload(void)
{
	return delete_module(MEMCONTROL_MODULE, O_NONBLOCK) ? -errno : 0;
}

/* A closed program releases the module after grace periods: wait for that. */
static inline int module_unload_wait(void)
{
	int err;

	poll_until((err = module_unload()) != -EWOULDBLOCK);
	return err;
}

static inline bool module_is_loaded(void)
{
	return !access(MEMCONTROL_BTF, R_OK);
}

#endif /* __MEMCONTROL_MODULE_H */
