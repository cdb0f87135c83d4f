# The addon, built by `npm install` and `npm run build:native`. Sources and flags stand in native/sources.json.
{
  "includes": ["native/sources.json"],
  "variables": {
    "variants": "<!(node scripts/compiler.mjs variants)",
    "cuda": "<!(node scripts/cuda.mjs build)",
  },

  "target_defaults": {
    "cflags!": ["-fno-exceptions"],
    "cflags_cc!": ["-fno-exceptions", "-fno-rtti"],
    "cflags_cc": ["<@(cxx_flags)", "-fexceptions"],
    "xcode_settings": {
      "GCC_ENABLE_CPP_EXCEPTIONS": "YES",
      "GCC_ENABLE_CPP_RTTI": "YES",
      "CLANG_CXX_LANGUAGE_STANDARD": "c++17",
      "MACOSX_DEPLOYMENT_TARGET": "11.0",
      "OTHER_CPLUSPLUSFLAGS": ["<@(cxx_flags)"],
    },
  },

  "targets": [
    {
      "target_name": "heddle",
      "sources": ["<@(addon_sources)", "<@(host_sources)"],
      "dependencies": ["<!@(node scripts/compiler.mjs targets)"],
      "include_dirs": ["<!(node -p \"require('node-addon-api').include_dir\")"],
      "defines": ["NAPI_VERSION=9", "NAPI_CPP_EXCEPTIONS"],
      "conditions": [
        # nodelete: a worker may end while a native thread of the process still lives, so never unmap the code under it.
        # now: a function that nobody defines fails at load, by name, not when it is first called.
        ["OS=='linux'", { "ldflags": ["-Wl,-z,nodelete", "-Wl,-z,now", "-pthread"] }],
        ["cuda=='true'", {
          "sources": ["<@(cuda_host_sources)", "<@(cuda_sources)"],
          "defines": ["HEDDLE_CUDA=\"<!(node scripts/cuda.mjs targets)\""],
          "include_dirs": ["<!(node scripts/cuda.mjs include)"],
          "libraries": ["<!(node scripts/cuda.mjs library)/libcudart_static.a", "-lrt", "-ldl", "-lpthread"],
          "rules": [
            {
              "rule_name": "nvcc",
              "extension": "cu",
              # make does not notice a changed action: other flags have to mean another input or output
              "inputs": ["<@(cuda_headers)", "scripts/cuda.mjs"],
              "outputs": ["<(INTERMEDIATE_DIR)/<!(node scripts/cuda.mjs folder)/<(RULE_INPUT_DIRNAME)/<(RULE_INPUT_ROOT).o"],
              "process_outputs_as_sources": 1,
              "message": "nvcc <(RULE_INPUT_PATH)",
              "action": [
                "<!(node scripts/cuda.mjs nvcc)", "<!@(node scripts/cuda.mjs flags)",
                "-c", "<(RULE_INPUT_PATH)", "-o", "<@(_outputs)",
              ],
            },
          ],
        }],
      ],
    },
  ],

  # The kernels once for each instruction set that the compiler knows, chosen from at run time.
  "conditions": [
    ["'baseline' in variants.split()", { "targets": [{
      "target_name": "kernels_baseline",
      "type": "static_library",
      "sources": ["<@(kernel_sources)"],
      "defines": ["HEDDLE_ISA=baseline"],
      "cflags_cc": ["<@(flags_baseline)"],
      "xcode_settings": { "OTHER_CPLUSPLUSFLAGS": ["<@(flags_baseline)"] },
      "direct_dependent_settings": { "defines": ["HEDDLE_HAVE_BASELINE"] },
    }] }],
    ["'avx2' in variants.split()", { "targets": [{
      "target_name": "kernels_avx2",
      "type": "static_library",
      "sources": ["<@(kernel_sources)"],
      "defines": ["HEDDLE_ISA=avx2"],
      "cflags_cc": ["<@(flags_avx2)"],
      "xcode_settings": { "OTHER_CPLUSPLUSFLAGS": ["<@(flags_avx2)"] },
      "direct_dependent_settings": { "defines": ["HEDDLE_HAVE_AVX2"] },
    }] }],
    ["'avx512' in variants.split()", { "targets": [{
      "target_name": "kernels_avx512",
      "type": "static_library",
      "sources": ["<@(kernel_sources)"],
      "defines": ["HEDDLE_ISA=avx512"],
      "cflags_cc": ["<@(flags_avx512)"],
      "xcode_settings": { "OTHER_CPLUSPLUSFLAGS": ["<@(flags_avx512)"] },
      "direct_dependent_settings": { "defines": ["HEDDLE_HAVE_AVX512"] },
    }] }],
    ["'avx512bf16' in variants.split()", { "targets": [{
      "target_name": "kernels_avx512bf16",
      "type": "static_library",
      "sources": ["<@(kernel_sources_avx512bf16)"],
      "defines": ["HEDDLE_ISA=avx512bf16"],
      "cflags_cc": ["<@(flags_avx512bf16)"],
      "xcode_settings": { "OTHER_CPLUSPLUSFLAGS": ["<@(flags_avx512bf16)"] },
      "direct_dependent_settings": { "defines": ["HEDDLE_HAVE_AVX512BF16"] },
    }] }],
    ["'neon' in variants.split()", { "targets": [{
      "target_name": "kernels_neon",
      "type": "static_library",
      "sources": ["<@(kernel_sources)"],
      "defines": ["HEDDLE_ISA=neon"],
      "cflags_cc": ["<@(flags_neon)"],
      "xcode_settings": { "OTHER_CPLUSPLUSFLAGS": ["<@(flags_neon)"] },
      "direct_dependent_settings": { "defines": ["HEDDLE_HAVE_NEON"] },
    }] }],
  ],
}
