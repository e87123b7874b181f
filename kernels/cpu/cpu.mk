# Tests of what the CPU builds share; the same sources that every plug-in compiles.
$(BIN)/kernels-cpu-pool_test: $(OBJ)/kernels/cpu/tests/pool_test.o $(OBJ)/kernels/cpu/pool.o $(OBJ)/kernels/cpu/machine.o | $(BIN)/
	$(call say,LINK,$@)
	$(Q)$(CXX) $(LDFLAGS) -o $@ $^ -lpthread
TESTS += $(BIN)/kernels-cpu-pool_test
SLOW_TESTS += kernels/cpu/tests/thread_sanitizer_test.sh
