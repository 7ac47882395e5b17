#pragma once
/*
 * What an instruction may look like: the number of its arguments, the flags that it knows, the
 * words that stand where. Checked when a Dockerfile is read, before anything is done, with Docker's
 * texts. Any thread.
 */
#include <stdint.h>

#include "hyperd/build/dockerfile.h"

/* ERROR_INVALID. */
int instruction_check(struct instruction *instruction, char escape, struct error *err);
