/*
 * Feeds each file of a corpus to a fuzz target: how the ordinary tests, built with any compiler,
 * replay what fuzzing has found. Arguments are files and directories (of files).
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(const char *path)
{
	FILE *file = fopen(path, "re");
	uint8_t *data = NULL;
	long size;

	if (!file || fseek(file, 0, SEEK_END) < 0 || (size = ftell(file)) < 0 ||
	    fseek(file, 0, SEEK_SET) < 0 || !(data = malloc((size_t)size ? (size_t)size : 1)) ||
	    fread(data, 1, (size_t)size, file) != (size_t)size) {
		perror(path);
		exit(1);
	}
	fclose(file);
	LLVMFuzzerTestOneInput(data, (size_t)size);
	free(data);
	return 1;
}

static int replay(const char *path)
{
	char name[4096];
	struct dirent *e;
	struct stat st;
	int count = 0;
	DIR *dir;

	if (stat(path, &st) < 0) {
		perror(path);
		exit(1);
	}
	if (!S_ISDIR(st.st_mode))
		return replay_file(path);
	dir = opendir(path);
	if (!dir) {
		perror(path);
		exit(1);
	}
	while ((e = readdir(dir))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "%s/%s", path, e->d_name);
		count += replay(name);
	}
	closedir(dir);
	return count;
}

int main(int argc, char **argv)
{
	int count = 0;

	for (int i = 1; i < argc; i++)
		count += replay(argv[i]);
	printf("%d inputs replayed\n", count);
	/* An empty corpus would test nothing, silently. */
	return count > 0 ? 0 : 1;
}
