#pragma once
/* Block devices, found by the serial number the hypervisor gave them. */
#include "base/error.h"

#define BLOCK_PATH_MAX 64

/* Writes the device's path, BLOCK_PATH_MAX bytes; ERROR_NOT_FOUND. */
int block_find(const char *serial, char *path, struct error *err);
/* Forgets cached content of a device whose content another boot has changed. */
int block_flush(const char *path, struct error *err);
