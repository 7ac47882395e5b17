#pragma once
/* The first thing in a clone: fresh randomness and the right time, before anything else runs. */
#include "base/error.h"

struct request;

int resume_handle(struct request *request, struct error *err);
