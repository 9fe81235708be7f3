// SPDX-License-Identifier: GPL-2.0
/* Finds the parts of a 64-bit ELF file that tell of types and symbols. */
#include <elf.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "image.h"

struct rg_elf {
	struct rg_part file;
	struct rg_part table;	/* of sections */
	struct rg_part names;
	u32 nr;
	u32 each;
};

struct rg_elf_section {
	u32 type;
	u32 link;
	struct rg_part name;	/* up to the end of the names, NUL-terminated in them */
	struct rg_part data;
};

/**
 * rg_is_elf - does a file begin as an ELF file?
 * @file: its bytes
 *
 * Context: User space.
 * Return: true if it does.
 */
bool rg_is_elf(struct rg_part file)
{
	return file.size >= SELFMAG && !memcmp(file.at, ELFMAG, SELFMAG);
}

static int rg_elf_cut_short(char *why)
{
	snprintf(why, RG_WHY, "is cut short: its ELF sections end behind its end; copy it again");
	return RG_EXIT_BAD;
}

/* Names are only compared, and only within their section. */
static bool rg_elf_section(const struct rg_elf *elf, u32 index, struct rg_elf_section *section)
{
	const u8 *at = elf->table.at + (size_t)index * elf->each;
	u32 name = rg_get_u32(at + offsetof(Elf64_Shdr, sh_name));
	u64 off = rg_get_u64(at + offsetof(Elf64_Shdr, sh_offset));
	u64 size = rg_get_u64(at + offsetof(Elf64_Shdr, sh_size));

	*section = (struct rg_elf_section){
		.type = rg_get_u32(at + offsetof(Elf64_Shdr, sh_type)),
		.link = rg_get_u32(at + offsetof(Elf64_Shdr, sh_link)),
	};
	if (name < elf->names.size)
		section->name = rg_part_of(elf->names, name, elf->names.size - name);
	if (section->type == SHT_NOBITS || section->type == SHT_NULL || !size)
		return true;
	section->data = rg_part_of(elf->file, off, size);
	return section->data.at;
}

static bool rg_elf_is_named(const struct rg_elf_section *section, const char *name)
{
	size_t len = strlen(name) + 1;

	return section->name.size >= len && !memcmp(section->name.at, name, len);
}

static int rg_elf_open(struct rg_elf *elf, struct rg_part file, char *why)
{
	struct rg_elf_section names;
	u32 strings;

	if (file.size < sizeof(Elf64_Ehdr))
		return rg_elf_cut_short(why);
	if (file.at[EI_CLASS] != ELFCLASS64 || file.at[EI_DATA] != ELFDATA2LSB) {
		snprintf(why, RG_WHY, "is an ELF file, but no 64-bit little-endian one");
		return RG_EXIT_BAD;
	}
	*elf = (struct rg_elf){ .file = file };
	elf->nr = rg_get_u16(file.at + offsetof(Elf64_Ehdr, e_shnum));
	elf->each = rg_get_u16(file.at + offsetof(Elf64_Ehdr, e_shentsize));
	strings = rg_get_u16(file.at + offsetof(Elf64_Ehdr, e_shstrndx));
	elf->table = rg_part_of(file, rg_get_u64(file.at + offsetof(Elf64_Ehdr, e_shoff)),
				(u64)elf->nr * elf->each);
	if (elf->each < sizeof(Elf64_Shdr) || !elf->nr || strings >= elf->nr) {
		snprintf(why, RG_WHY, "is an ELF file without sections, so no kernel");
		return RG_EXIT_BAD;
	}
	if (!elf->table.at || !rg_elf_section(elf, strings, &names))
		return rg_elf_cut_short(why);
	elf->names = names.data;
	return RG_EXIT_OK;
}

/* The names' section ends with a NUL, or it is none. A name has an end where names have. */
static void rg_elf_symbols(struct rg_part table, struct rg_part names, struct rg_symbols *symbols)
{
	size_t nr = table.size / sizeof(Elf64_Sym), i;
	struct rg_part name;
	const u8 *stop, *at;
	u32 off;

	if (!names.size || names.at[names.size - 1])
		return;
	for (i = 0; i < nr; i++) {
		at = table.at + i * sizeof(Elf64_Sym);
		off = rg_get_u32(at + offsetof(Elf64_Sym, st_name));
		if (!off || off >= names.size ||
		    ELF64_ST_TYPE(at[offsetof(Elf64_Sym, st_info)]) == STT_FILE ||
		    !rg_get_u16(at + offsetof(Elf64_Sym, st_shndx)))
			continue;
		name = rg_part_of(names, off, names.size - off);
		stop = memchr(name.at, '\0', name.size < RG_NAME_MOST ? name.size : RG_NAME_MOST);
		if (!rg_work(symbols, stop ? 8 : RG_NAME_MOST / 16))
			return;
		if (stop)
			rg_symbols_note(symbols, (const char *)name.at, stop - name.at);
	}
	symbols->known = symbols->total;
	symbols->complete = symbols->known;
}

static int rg_elf_sections(const struct rg_elf *elf, struct rg_image *image, char *why)
{
	struct rg_elf_section section, strings;
	u32 i;

	for (i = 1; i < elf->nr; i++) {
		if (!rg_elf_section(elf, i, &section))
			return rg_elf_cut_short(why);
		if (rg_elf_is_named(&section, ".BTF"))
			image->btf = section.data;
		else if (section.type == SHT_SYMTAB && section.link < elf->nr &&
			 rg_elf_section(elf, section.link, &strings))
			rg_elf_symbols(section.data, strings.data, &image->symbols);
		else if (rg_elf_is_named(&section, ".rodata") && !image->symbols.known)
			rg_kallsyms_read(section.data, &image->symbols);
	}
	return RG_EXIT_OK;
}

/**
 * rg_elf_read - what an ELF file tells of its types and symbols
 * @image: data and size are set; receives the rest
 * @why: receives what went wrong
 *
 * Context: User space.
 * Return: the exit code.
 */
int rg_elf_read(struct rg_image *image, char *why)
{
	struct rg_elf elf;
	int rc = rg_elf_open(&elf, (struct rg_part){ image->data, image->size }, why);

	if (rc)
		return rc;
	switch (rg_get_u16(image->data + offsetof(Elf64_Ehdr, e_machine))) {
	case EM_X86_64:
		image->arch = RG_ARCH_X86;
		break;
	case EM_AARCH64:
		image->arch = RG_ARCH_ARM64;
		break;
	default:
		break;
	}
	return rg_elf_sections(&elf, image, why);
}
