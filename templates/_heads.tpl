% # The heads of the columns of a list. Wants: columns, boxes (whether its rows can be chosen), t.
% if boxes:
    <th class="tick" scope="col"><span class="visually-hidden">{{t("several.column")}}</span></th>
% end
% for column in columns:
    <th scope="col" class="{{'num' if column.numeric else ''}}"
%   if column.sorted:
      aria-sort="{{column.sorted}}"
%   end
    >
%   if column.sort_href:
      <a href="{{column.sort_href}}">{{column.title}}</a>
%   else:
      {{column.title}}
%   end
    </th>
% end
