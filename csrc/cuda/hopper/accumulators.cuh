// SPDX-License-Identifier: Apache-2.0
//
// The 128 accumulators of an m64n256k16 product as operands of one asm statement: their places in its text
// and their bindings.
#pragma once

#define OPHCLIP_SUM_PLACES                                                                       \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "                       \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "             \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "             \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "             \
  "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "             \
  "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "             \
  "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, " \
  "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"

#define OPHCLIP_SUMS_4(i) "+f"(sums[i]), "+f"(sums[i + 1]), "+f"(sums[i + 2]), "+f"(sums[i + 3])
#define OPHCLIP_SUMS_16(i) \
  OPHCLIP_SUMS_4(i), OPHCLIP_SUMS_4(i + 4), OPHCLIP_SUMS_4(i + 8), OPHCLIP_SUMS_4(i + 12)
#define OPHCLIP_SUMS_64(i) \
  OPHCLIP_SUMS_16(i), OPHCLIP_SUMS_16(i + 16), OPHCLIP_SUMS_16(i + 32), OPHCLIP_SUMS_16(i + 48)
#define OPHCLIP_SUMS OPHCLIP_SUMS_64(0), OPHCLIP_SUMS_64(64)
