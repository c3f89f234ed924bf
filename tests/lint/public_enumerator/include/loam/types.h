enum loam_kind { LOAM_A, KIND_B };
