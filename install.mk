# make install and make dist.  Plug-ins go to lib/lamina/plugins as they were built, headers to include/lamina; what is ours is stripped.
PREFIX ?= /usr/local
DESTDIR ?=
GLIBC_FLOOR := 2.36
DIST_NAME = lamina-$(LAMINA_VERSION)-$(HOST_CPU)-linux

.PHONY: install
install: everything  ## make install PREFIX=/usr/local: program, liblamina, headers, plug-ins, pkg-config and CMake files
	install -d $(addprefix $(DESTDIR)$(PREFIX)/,bin include/lamina lib/pkgconfig lib/cmake/lamina lib/lamina/plugins lib/lamina/tvm_ffi lib/lamina/python share/doc/lamina)
	install -m 755 -s $(BIN)/lamina $(DESTDIR)$(PREFIX)/bin/
	install -m 644 $(PUBLIC_HEADERS) $(DESTDIR)$(PREFIX)/include/lamina/
	strip --strip-debug --enable-deterministic-archives -o $(DESTDIR)$(PREFIX)/lib/liblamina.a $(LIB)/liblamina.a
	chmod 644 $(DESTDIR)$(PREFIX)/lib/liblamina.a
	install -m 755 -s $(LIB)/liblamina.so.1 $(DESTDIR)$(PREFIX)/lib/
	ln -sf liblamina.so.1 $(DESTDIR)$(PREFIX)/lib/liblamina.so
	install -m 644 $(ALL_PLUGINS) $(DESTDIR)$(PREFIX)/lib/lamina/plugins/
	install -m 644 $(TVM_FFI_PLUGINS) $(DESTDIR)$(PREFIX)/lib/lamina/tvm_ffi/
	install -m 755 $(LIB)/liblamina_xla.so $(DESTDIR)$(PREFIX)/lib/
	install -m 644 adapters/xla/lamina_jax.py adapters/xla/lamina_hosts.py $(DESTDIR)$(PREFIX)/lib/lamina/python/
	sed 's|@VERSION@|$(LAMINA_VERSION)|g' hub_client/lamina.pc.in > $(DESTDIR)$(PREFIX)/lib/pkgconfig/lamina.pc
	sed 's|@VERSION@|$(LAMINA_VERSION)|g' hub_client/lamina-config.cmake.in > $(DESTDIR)$(PREFIX)/lib/cmake/lamina/lamina-config.cmake
	sed 's|@VERSION@|$(LAMINA_VERSION)|g' hub_client/lamina-config-version.cmake.in > $(DESTDIR)$(PREFIX)/lib/cmake/lamina/lamina-config-version.cmake
	install -m 644 LICENSE README.md CHANGELOG.md $(DESTDIR)$(PREFIX)/share/doc/lamina/

.PHONY: dist
dist: everything  ## relocatable archive of what `make install` installs; its glibc floor is stated and checked
	rm -rf $(BUILD)/dist && mkdir -p $(BUILD)/dist
	$(MAKE) --no-print-directory install PREFIX= DESTDIR=$(BUILD)/dist/$(DIST_NAME) >/dev/null
	.ci/make-dist $(LAMINA_VERSION) $(BUILD)/$(DIST_NAME).tar.zst $(GLIBC_FLOOR) $(BUILD)/dist/$(DIST_NAME)
