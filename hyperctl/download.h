#pragma once
/* An answer's body into a file or a descriptor: archives. */
#include "hyperctl/client.h"

/* PATH NULL: standard output, unless that is a terminal, which is refused before anything is asked
 * for (download_check). A file appears when it is whole; pipes and devices are written to. */
int download_check(const char *path, struct error *err);
int download(struct response *response, const char *path, struct error *err);
int download_to(struct response *response, int fd, struct error *err);
