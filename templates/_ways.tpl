% # The pages of other sizes of a list, and its other formats. Wants: sizes, size, formats, t.
% if sizes:
  <p class="sizes"><span>{{t("table.size")}}</span>
%   for one, href in sizes.items():
    <a href="{{href}}"{{!' aria-current="true"' if one == size else ""}}>{{one}}</a>
%   end
  </p>
% end
% if formats:
  <p class="formats"><span>{{t("table.formats")}}</span>
%   for ending, href in formats.items():
    <a href="{{href}}">{{ending}}</a>
%   end
  </p>
% end
